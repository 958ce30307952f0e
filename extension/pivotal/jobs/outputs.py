"""What a run writes: embeddings for the host, states to resume from, previews to look at."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from pivotal import __version__
from pivotal.config.derived import metadata
from pivotal.config.train import TrainConfig
from pivotal.embeddings.trained import TrainedEmbedding
from pivotal.formats.atomic import write_bytes
from pivotal.formats.embedding_file import embedding_bytes
from pivotal.formats.state_file import State, write_state
from pivotal.hosts.protocol import Folders
from pivotal.jobs.checks import plain_options
from pivotal.jobs.paths import RunPaths, embedding_path
from pivotal.models.diffusion import DiffusionModel
from pivotal.training.session import Session

ARCHITECTURE = {"sd1": "stable-diffusion-v1", "sd2": "stable-diffusion-v2-512", "sdxl": "stable-diffusion-xl-v1-base"}


def embedding_files(config: TrainConfig, model: DiffusionModel, embeddings: Sequence[TrainedEmbedding],
                    folders: Folders, step: int, *, final: bool) -> dict[Path, bytes]:
    """The files of all trained embeddings, whole and in memory, so that they outlive the lent model."""
    # No time and no path of this machine: the same run gives the same bytes.
    common = metadata(config) | {
        "modelspec.sai_model_spec": "1.0.1",
        "modelspec.architecture": ARCHITECTURE[model.family.name] + "/textual-inversion",
        "modelspec.prediction_type": model.prediction, "pivotal.version": __version__, "pivotal.step": str(step)}
    common.pop("pivotal.dataset.folder", None)
    files = {}
    for embedding in embeddings:
        if embedding.train_it:
            about = common | {"modelspec.title": embedding.placeholder, "modelspec.trigger_phrase": embedding.placeholder}
            path = embedding_path(folders, embedding.placeholder, None if final else step)
            files[path] = embedding_bytes(tuple(embedding.values), about)
    return files


def keep_older(path: Path, data: bytes, paths: RunPaths) -> Path | None:
    """Copies the file that is about to be replaced into the run's folder; None when there is none, or it is the same."""
    if not path.exists():
        return None
    older = path.read_bytes()
    if older == data:
        return None
    stamp = datetime.fromtimestamp(path.stat().st_mtime, timezone.utc).strftime("%Y%m%d-%H%M%S")
    # The content's hash, too: two files of one second must not take each other's place.
    kept = paths.replaced / f"{path.stem}-{stamp}-{hashlib.sha256(older).hexdigest()[:8]}{path.suffix}"
    write_bytes(kept, older)
    return kept


def save_state(session: Session, config: TrainConfig, paths: RunPaths) -> Path:
    """Writes what resuming needs, replacing the state before."""
    facts, tensors = session.state()
    write_state(paths.state, State(facts | {"config": plain_options(config)}, dict(tensors)))
    return paths.state


def save_image(image: Image.Image, path: Path, parameters: Mapping[str, object]) -> None:
    """Writes a PNG with its prompt in the text chunk where hosts look for it."""
    info = PngInfo()
    info.add_text("parameters", str(parameters["prompt"]) + "\n" + ", ".join(
        f"{key}: {value}" for key, value in parameters.items() if key != "prompt"))
    buffer = io.BytesIO()
    image.save(buffer, "PNG", pnginfo=info)
    write_bytes(path, buffer.getvalue())
