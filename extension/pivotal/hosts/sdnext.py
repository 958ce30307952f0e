"""SD.Next as a host: trains on the diffusers pipeline that it has loaded. Seen with 058a7f0 (July 2026).

Samples of a run are drawn by diffusers' pipeline over the host's own tensors, as its prompts are. Its process_images would
need the words as tokens and rows of its text encoders, the network as a file fused into its weights, and changes its
settings, its scheduler, the prompts it keeps and what other extensions patch (processing.py, processing_diffusers.py).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pivotal.errors import HostError
from pivotal.hosts.a1111_model import refuse_other_file
from pivotal.hosts.captioning import Describe
from pivotal.hosts.folders import made
from pivotal.hosts.protocol import Checkpoint, Folders, NetworkReader, PromptContext
from pivotal.hosts.sdnext_captioning import sdnext_captioners
from pivotal.hosts.sdnext_guard import Guard, had_networks, loaded_pipe
from pivotal.hosts.sdnext_model import (
    family_of,
    input_blocks,
    misplaced,
    model_over,
    parts_of,
    refuse_other_families,
    refuse_what_cannot_be_shared,
)
from pivotal.hosts.sdnext_queue import SdnextTurn
from pivotal.hosts.sdnext_refresh import forget_prompts, refresh_embeddings, refresh_networks
from pivotal.hosts.webui import WebuiHost
from pivotal.models.diffusion import DiffusionModel
from pivotal.models.families import FAMILIES
from pivotal.models.lend import lend

log = logging.getLogger(__name__)


class SdnextHost(WebuiHost[Guard]):
    """See hosts.protocol.Host."""

    name = "sdnext"
    reads_bundles = True  # lora_load.py

    def __init__(self) -> None:
        super().__init__(SdnextTurn())
        self._is_shared = False  # whether prompts can be made with the model as it is lent

    @property
    def network_reader(self) -> NetworkReader:
        """By its settings, which may change."""
        from modules import shared

        unread = {"boft": "SD.Next takes BOFT for OFT, and leaves all of such a file out (network_oft.py)"}
        if shared.opts.lora_fuse_native:
            unread["full"] = ("SD.Next adds changes of biases to the weights instead (lora_apply.py, network_add_weights); turn "
                              "off Settings > Networks > LoRA native fuse with model")
        return NetworkReader(unread, bundles_stay=True)

    def checkpoint(self) -> Checkpoint | None:
        pipe = loaded_pipe()
        info = getattr(pipe, "sd_checkpoint_info", None)
        if info is None:
            return None
        return Checkpoint(_listed_name(info), Path(info.filename).absolute(), family_of(pipe), input_blocks(pipe))

    def checkpoints(self) -> Sequence[str]:
        return list(_by_name())

    def folders(self) -> Folders:
        from modules import paths, shared

        # Both are settings; the LoRA page and its loader read the second from the command line's (cmd_args.py copies it).
        loras = getattr(shared.cmd_opts, "lora_dir", None) or shared.opts.lora_dir
        return made(shared.opts.embeddings_dir, loras, Path(paths.data_path) / "pivotal")

    @contextmanager
    def borrow(self, checkpoint: str) -> Iterator[DiffusionModel]:
        assert self._turn.mine, "borrow is for inside of run"
        with _switched_to(checkpoint) as (pipe, is_chosen):
            refuse_other_families(pipe)
            pipe = _without_networks(pipe)
            with _in_place(pipe) as was_moved:
                self._is_shared = is_chosen and not was_moved
                refuse_what_cannot_be_shared(pipe)
                self._guard = Guard(pipe)
                try:
                    with self._guard.unharmed():
                        model = model_over(pipe, self._own_tokenizer())
                        # Our own modules, but diffusers 0.31 has one activation for all models, the pipeline's among them.
                        with lend([model.unet, model.vae, *(encoder.module for encoder in model.text_encoders)]):
                            yield model
                finally:
                    self._guard = None

    def let_through(self) -> None:
        # Else prompts would be made with another checkpoint than the one chosen, or send the weights away again ("balanced").
        # They wait, as they do without this.
        if self._guard is not None and self._is_shared:
            self._turn.let_pass(self._guard.put_back)

    def prompt_context(self) -> PromptContext:
        pipe = loaded_pipe()
        encoders = FAMILIES[family_of(pipe)].encoders if family_of(pipe) in FAMILIES else FAMILIES["sd1"].encoders
        # A copy made in one go: another thread may be reading the folder anew.
        known = list(getattr(getattr(pipe, "embedding_db", None), "word_embeddings", {}).items())
        # The host's own tokenizer has a token for every embedding loaded, which would be theirs in any caption.
        return PromptContext({encoder.name: self._own_tokenizer() for encoder in encoders},
                             {name: len(embedding.tokens) for name, embedding in known})

    def captioners(self) -> Mapping[str, Describe]:
        """See hosts.captioning."""
        return sdnext_captioners()

    def refresh(self, artifact: Path) -> None:
        with self._turn.locked():
            if artifact.absolute().is_relative_to(self.folders().loras):
                refresh_networks(artifact)
            else:
                refresh_embeddings(artifact)
            forget_prompts()


def _listed_name(info: Any) -> str:
    """Of files the name is without suffix in any case (sd_checkpoint.py)."""
    return info.name.replace("\\", "/")


def _by_name() -> dict[str, Any]:
    """Those on the disk: the host also lists models that it would download."""
    from modules import sd_checkpoint

    listed = list(sd_checkpoint.checkpoints_list.values())
    return {_listed_name(info): info for info in listed if Path(info.filename).exists()}


@contextmanager
def _switched_to(checkpoint: str) -> Iterator[tuple[Any, bool]]:
    """The pipeline with the weights of `checkpoint` ("": as they are), and whether it is the one that was loaded; on exit
    the one before is loaded again."""
    from modules import shared

    if shared.sd_model is None:  # loads the chosen checkpoint if the host has not yet
        raise HostError("SD.Next has no model loaded, or could not load it; its log says why.")
    pipe = loaded_pipe()
    before = pipe.sd_checkpoint_info
    if not checkpoint or checkpoint == _listed_name(before):
        yield pipe, True
        return
    wanted = _by_name().get(checkpoint)
    if wanted is None:
        raise HostError(f"{checkpoint!r} is not among SD.Next's models.")
    refuse_other_file(Path(wanted.filename))
    try:
        yield _load(wanted), False
    finally:
        _load(before)


def _load(info: Any) -> Any:
    """Loads a checkpoint by the host's own means, from its file even if it is loaded.

    Raises:
        HostError: it cannot be loaded.
    """
    from modules import sd_models

    # The host tells of errors in its log only, and has no model then.
    sd_models.reload_model_weights(info=info, force=True)
    pipe = loaded_pipe()
    if pipe is None or pipe.sd_checkpoint_info.filename != info.filename:
        raise HostError(f"SD.Next could not load {info.name}; its log says why.")
    return pipe


def _without_networks(pipe: Any) -> Any:
    """The pipeline, loaded anew if a LoRA was in its weights: taken out again, one leaves its rounding behind, and half of
    itself if the prompt before had another strength (lora_apply.py)."""
    if not had_networks(pipe):
        return pipe
    log.info("Loading %s anew: LoRAs were put into its weights.", pipe.sd_checkpoint_info.name)
    return _load(pipe.sd_checkpoint_info)


@contextmanager
def _in_place(pipe: Any) -> Iterator[bool]:
    """Inside, no weights wander between devices while they are used (diffusers_offload_mode; "balanced" on most cards);
    whether they would have.

    The hooks of "group" are diffusers' own, which `disable_offload` leaves; weights that stay elsewhere are refused later.
    """
    from modules import devices, sd_models

    hooked = getattr(pipe, "has_accelerate", False) or any(hasattr(part, "_hf_hook") for part in parts_of(pipe).values())
    if not hooked and misplaced(pipe) is None:
        yield False
        return
    try:
        sd_models.disable_offload(pipe)
        sd_models.move_model(pipe, devices.device, force=True)  # for which a card may have too little memory
        yield True
    finally:
        if loaded_pipe() is not None:
            sd_models.set_diffuser_offload(loaded_pipe(), force=True)  # else "balanced" believes that its hooks are there
