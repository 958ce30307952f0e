"""AUTOMATIC1111's stable-diffusion-webui as a host: trains on the checkpoint that it has loaded. Seen with 1.10.1."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from pivotal.errors import HostError
from pivotal.hosts.a1111_guard import Guard, loaded_model
from pivotal.hosts.a1111_model import (
    family_of,
    input_blocks,
    model_over,
    refuse_other_families,
    refuse_other_file,
    refuse_what_cannot_be_shared,
    take_out_networks,
)
from pivotal.hosts.a1111_queue import Turn
from pivotal.hosts.a1111_text import tokenizers
from pivotal.hosts.folders import made
from pivotal.hosts.protocol import Checkpoint, Folders, PromptContext
from pivotal.models.diffusion import DiffusionModel
from pivotal.prompts.vocabulary import clip_tokenizer

log = logging.getLogger(__name__)

T = TypeVar("T")


class A1111Host:
    """See hosts.protocol.Host."""

    name = "a1111"
    reads_bundles = True  # since 1.7.0

    def __init__(self) -> None:
        self._turn = Turn()
        self._guard: Guard | None = None  # while a model is lent
        self._vocabulary: Any = None  # a tokenizer of our own, made when the host has none yet

    def checkpoint(self) -> Checkpoint | None:
        model = loaded_model()
        info = getattr(model, "sd_checkpoint_info", None)
        if info is None:
            return None
        return Checkpoint(_listed_name(info), Path(info.filename).absolute(), self._family(model), input_blocks(model))

    def checkpoints(self) -> Sequence[str]:
        return list(_by_name())

    def folders(self) -> Folders:
        from modules import paths, shared

        # Set by the built-in Lora extension, which may be disabled.
        loras = getattr(shared.cmd_opts, "lora_dir", None) or Path(paths.models_path) / "Lora"
        return made(shared.cmd_opts.embeddings_dir, loras, Path(paths.data_path) / "pivotal")

    def run(self, work: Callable[[], T]) -> T:
        with self._turn.job():
            return work()

    def stop_requested(self) -> bool:
        return self._turn.interrupted()

    @contextmanager
    def borrow(self, checkpoint: str) -> Iterator[DiffusionModel]:
        assert self._turn.mine, "borrow is for inside of run"
        with _switched_to(checkpoint) as model:
            text = tokenizers(model, self._family(model)) or {"": self._own_tokenizer()}
            with self._lent(model, next(iter(text.values()))) as lent:
                yield lent

    @contextmanager
    def _lent(self, model: Any, tokenizer: Any) -> Iterator[DiffusionModel]:
        """The host's sd_model as ours, watched while it lasts."""
        refuse_other_families(model)
        refuse_what_cannot_be_shared(model)
        take_out_networks(model)
        self._guard = Guard(model)
        try:
            with self._guard.unharmed():
                yield model_over(model, tokenizer)
        finally:
            self._guard = None

    def _family(self, model: Any) -> str:
        return family_of(model)

    def changed(self) -> str | None:
        return None if self._guard is None else self._guard.changed()

    def let_through(self) -> None:
        guard = self._guard
        # Prompts would have the chosen checkpoint loaded in place of ours; they wait, as they do without this.
        if guard is None or not is_chosen(guard.model.sd_checkpoint_info):
            return
        if self._turn.step_aside(guard.remember) and guard.is_same:
            take_out_networks(guard.model)
            guard.forgive()

    def prompt_context(self) -> PromptContext:
        from modules import sd_hijack

        model = loaded_model()
        encoders = tokenizers(model, self._family(model)) or {"clip_l": self._own_tokenizer()}
        # A copy made in one go: another thread may be reading the folder anew.
        known = list(sd_hijack.model_hijack.embedding_db.word_embeddings.items())
        return PromptContext(encoders, {name: embedding.vectors for name, embedding in known})

    def refresh(self, artifact: Path) -> None:
        with self._turn.locked():
            if artifact.absolute().is_relative_to(self.folders().loras):
                self._refresh_networks(artifact)
            else:
                _refresh_embeddings(artifact)
            _forget_prompts()

    def _refresh_networks(self, artifact: Path) -> None:
        refresh_networks(artifact)

    def _own_tokenizer(self) -> Any:
        if self._vocabulary is None:
            self._vocabulary = clip_tokenizer(self.folders().scratch / "vocabulary")
        return self._vocabulary


def _listed_name(info: Any) -> str:
    return os.path.splitext(info.name)[0].replace("\\", "/")  # noqa: PTH122  "v1.5" has a dot and no suffix


def _by_name() -> dict[str, Any]:
    from modules import sd_models

    return {_listed_name(info): info for info in list(sd_models.checkpoints_list.values())}


def is_chosen(info: Any) -> bool:
    """Whether the next generation will find the checkpoint loaded that the page has chosen."""
    from modules import sd_models, shared

    chosen = sd_models.checkpoint_aliases.get(shared.opts.sd_model_checkpoint)
    return chosen is None or chosen.filename == info.filename


@contextmanager
def _switched_to(checkpoint: str) -> Iterator[Any]:
    """The host's model with the weights of `checkpoint` ("": as they are); on exit the ones before are loaded again.

    What the user has chosen in the page is left alone, so that the host shows and saves what it did before.
    """
    from modules import sd_models, shared

    model = shared.sd_model  # loads the chosen checkpoint if the host has not yet (--skip-load-model-at-start)
    if model is None:
        raise HostError("the WebUI has no checkpoint loaded, or could not load it; its log says why.")
    before = model.sd_checkpoint_info
    if not checkpoint or checkpoint == _listed_name(before):
        yield model
        return
    wanted = _by_name().get(checkpoint)
    if wanted is None:
        raise HostError(f"{checkpoint!r} is not among the WebUI's checkpoints.")
    refuse_other_file(Path(wanted.filename))
    try:
        yield _load(wanted)
    finally:
        # Where a file could not be read, 1.10.1 keeps the model before, without its hijack; force puts that on again.
        broken = getattr(loaded_model(), "sd_checkpoint_info", None) is before
        with sd_models.SkipWritingToConfig():
            sd_models.reload_model_weights(info=before, forced_reload=broken)


def _load(info: Any) -> Any:
    """Loads another checkpoint by the host's own means.

    Raises:
        HostError: it cannot be loaded.
    """
    from modules import sd_models

    try:
        with sd_models.SkipWritingToConfig():
            model = sd_models.reload_model_weights(info=info)
    except Exception as error:
        log.exception("%s could not be loaded", info.name)
        raise HostError(f"the WebUI could not load {info.name}: {type(error).__name__}: {error}") from error
    return model


def _refresh_embeddings(artifact: Path) -> None:
    """The host finds a new file by itself, but not one that was replaced within a subfolder or the same second."""
    from modules import sd_hijack

    if loaded_model() is None:
        return  # loading a checkpoint reads all embeddings
    database = sd_hijack.model_hijack.embedding_db
    database.load_textual_inversion_embeddings(force_reload=True)
    if artifact.stem in database.skipped_embeddings:
        raise HostError(f"{artifact.name} does not fit the checkpoint that is loaded; load one that it fits to use it.")
    if artifact.stem not in database.word_embeddings:
        raise HostError(f"the WebUI did not take up {artifact}; its log says why.")


def refresh_networks(artifact: Path) -> None:
    """A replaced LoRA under the same tag would go on in its old form: layers compare names, not files.

    Nor is a file read again whose time is not later than that of the one in memory, as within one tick of its disk.
    """
    model = loaded_model()
    if model is not None:
        take_out_networks(model)
    networks = sys.modules.get("networks")
    if not hasattr(networks, "list_available_networks"):
        return  # the built-in Lora extension is disabled
    networks.list_available_networks()
    for network in [*networks.networks_in_memory.values(), *networks.loaded_networks]:
        if Path(network.network_on_disk.filename).absolute() == artifact.absolute():
            network.mtime = 0.0


def _forget_prompts() -> None:
    """Empties the cache of encoded prompts, whose key is the prompt's text and not what an embedding in it is.

    In place: a generation that waits in the queue may hold the very lists (processing.py, persistent_cond_cache).
    """
    from modules.processing import StableDiffusionProcessing, StableDiffusionProcessingTxt2Img

    for cache in (StableDiffusionProcessing.cached_c, StableDiffusionProcessing.cached_uc,
                  StableDiffusionProcessingTxt2Img.cached_hr_c, StableDiffusionProcessingTxt2Img.cached_hr_uc):
        cache[:] = [None] * len(cache)
