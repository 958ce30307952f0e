"""What a run writes: networks and embeddings for the host, states to resume from, previews to look at."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path, PurePosixPath
from typing import Literal

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from pivotal.embeddings.trained import TrainedEmbedding
from pivotal.formats.atomic import write_bytes
from pivotal.formats.embedding_file import embedding_bytes
from pivotal.formats.network_file import network_bytes
from pivotal.formats.state_file import State, write_state
from pivotal.hosts.protocol import Host
from pivotal.jobs.checks.plan import Plan
from pivotal.jobs.metadata import card, common_metadata, embedding_metadata, network_metadata
from pivotal.jobs.paths import Mark, RunPaths, embedding_path, network_path
from pivotal.jobs.resuming import plain_options
from pivotal.jobs.trainees import Trainees
from pivotal.jobs.verify import verify_embedding, verify_network, verify_state
from pivotal.models.diffusion import DiffusionModel
from pivotal.prompts.placeholders import safe_file_name
from pivotal.training.session import Session


@dataclass(frozen=True)
class Artifact:
    """A file to be written, whole and in memory, so that it outlives the lent model."""

    path: Path
    data: bytes = field(repr=False)  # megabytes, and no log's business
    kind: Literal["embedding", "network", "card"]
    prompt: str = ""  # what to write into a prompt to use it


class Outputs:
    """Makes the files of a run."""

    def __init__(self, plan: Plan, host: Host, model: DiffusionModel, trainees: Trainees):
        self.plan, self.config, self.folders = plan, plan.config, host.folders()
        self.model, self.trainees, self.reads_bundles = model, trainees, host.reads_bundles
        checkpoint = host.checkpoint()
        self.checkpoint = PurePosixPath(plan.config.checkpoint or (checkpoint.name if checkpoint else "")).name

    def make(self, step: int, *, final: bool = False, mark: str = "") -> list[Artifact]:
        """All files as they are after `step` steps, each read back before it is handed out.

        Args:
            final: whether they are the run's result.
            mark: stands behind the names of others in place of the step.

        Raises:
            FormatError: what was read back is not what was trained, or it holds what no file can hold.
        """
        common = common_metadata(self.config, self.model, self.checkpoint, step)
        behind = None if final else mark or step
        made = [self._embedding(embedding, common, path) for embedding, path in self._own_files(behind)]
        if self.trainees.networks:
            made.append(self._network(common, behind))
            if final and self.config.save.cards:
                made.append(self._card())
        return made

    def words(self) -> dict[str, TrainedEmbedding]:
        """Word of prompts -> embedding, of all that captions may use: a network that learned beside a finished embedding
        is as lost without it as without a new one."""
        return {safe_file_name(embedding.placeholder): embedding for embedding in self.trainees.embeddings}

    def _own_files(self, behind: Mark) -> list[tuple[TrainedEmbedding, Path]]:
        """Which embeddings get files of their own, and where."""
        files = []
        for row, embedding in zip(self.config.embeddings, self.trainees.embeddings, strict=True):
            path = embedding_path(self.folders.embeddings, row.placeholder, behind)
            bundled = bool(self.trainees.networks) and self.config.save.bundle
            if row.train and (not bundled or not self.reads_bundles or outranks(path, behind is None)):
                files.append((embedding, path))
        if self.trainees.networks and not self.config.save.bundle:
            beside = network_path(self.folders, self.config.name, behind)
            folder = beside.with_name(f"{beside.stem}_embeddings")
            files += [(embedding, folder / f"{word}.safetensors") for word, embedding in self.words().items()]
        return files

    def _embedding(self, embedding: TrainedEmbedding, common: dict[str, str], path: Path) -> Artifact:
        about = embedding_metadata(common, self.model, embedding.placeholder)
        data = embedding_bytes(tuple(embedding.values), about)
        verify_embedding(data, embedding)
        return Artifact(path, data, "embedding", path.stem)

    def _network(self, common: dict[str, str], behind: Mark) -> Artifact:
        path = network_path(self.folders, self.config.name, behind)
        words = self.words()
        layers = {key: parts for network in self.trainees.networks for key, parts in network.file_tensors().items()}
        bundled = {word: tuple(embedding.values) for word, embedding in words.items()} if self.config.save.bundle else {}
        about = network_metadata(common, self.config, self.model, self.plan.captions, list(words), path.stem)
        data = network_bytes(layers, bundled, about, self.config.save.precision)
        verify_network(data, path.name, self.trainees.networks, bundled, self.config.save.precision)
        return Artifact(path, data, "network", " ".join([f"<lora:{path.stem}:1>", *words]))

    def _card(self) -> Artifact:
        path = network_path(self.folders, self.config.name).with_suffix(".json")
        return Artifact(path, card(_read_card(path), self.model, list(self.words()), self.config).encode("utf-8"), "card")


def outranks(path: Path, final: bool) -> bool:
    """Whether an embedding's file is there that hosts would use in place of a bundled one of its name."""
    return final and path.exists()


def _read_card(path: Path) -> dict[str, object]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def preview_of(network: Path, sample: Path) -> Artifact:
    """The last sample as the picture of the network's card.

    Raises:
        OSError: it cannot be read.
    """
    return Artifact(network.with_suffix(".preview.png"), sample.read_bytes(), "card")


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


def save_state(session: Session, plan: Plan, paths: RunPaths) -> Path:
    """Writes what resuming needs, replacing the state before.

    Raises:
        FormatError: a value is not a finite number; the state before is still there.
    """
    facts, tensors = session.state()
    verify_state(tensors)
    write_state(paths.state, State(facts | {"config": plain_options(plan.config)}, dict(tensors)))
    return paths.state


def save_image(image: Image.Image, path: Path, parameters: Mapping[str, object]) -> None:
    """Writes a PNG with its prompt in the text chunk where hosts look for it."""
    info = PngInfo()
    info.add_text("parameters", str(parameters["prompt"]) + "\n" + ", ".join(
        f"{key}: {value}" for key, value in parameters.items() if key != "prompt"))
    buffer = io.BytesIO()
    image.save(buffer, "PNG", pnginfo=info)
    write_bytes(path, buffer.getvalue())
