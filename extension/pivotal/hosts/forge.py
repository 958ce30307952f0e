"""Forge (lllyasviel/stable-diffusion-webui-forge) as a host. Seen with f2.0.1v1.10.1, commit dfdcbab6."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pivotal.hosts.checkpoint_list import listed_name
from pivotal.hosts.forge_bundles import UNKNOWN_KEYS, reads_bundles
from pivotal.hosts.forge_checkpoint import loaded_model, needs_reload, selected, switched_to
from pivotal.hosts.forge_guard import Guard
from pivotal.hosts.forge_model import family_of, input_blocks, model_over, refuse_what_cannot_be_shared, take_out_networks
from pivotal.hosts.forge_refresh import forget_prompts, let_go_of_files, refresh_embedding, refresh_networks
from pivotal.hosts.forge_text import engines, tokenizers
from pivotal.hosts.protocol import Checkpoint, NetworkReader, PromptContext
from pivotal.hosts.unloaded import unloaded
from pivotal.hosts.webui import WebuiHost
from pivotal.models.diffusion import DiffusionModel


class ForgeHost(WebuiHost[Guard]):
    """See hosts.protocol.Host.

    All is done in the calling thread, under the queue's lock: the host's main thread serves its page's generations only,
    and the API's go past it (modules_forge/main_thread.py), so that the lock is what keeps everybody else out.
    """

    name = "forge"
    # packages_3rdparty/comfyui_lora_collection/lora.py, load_lora.
    network_reader = NetworkReader(dict.fromkeys(("oft", "boft", "ia3"), "Forge leaves its files out, as it does not know them"),
                                   most_bundled=UNKNOWN_KEYS)

    @property
    def reads_bundles(self) -> bool:
        """By what we add to the host; see forge_bundles.py."""
        return reads_bundles()

    def checkpoint(self) -> Checkpoint | None:
        """The one that the next prompt will use: the host loads what is chosen no sooner than that."""
        info = selected()
        if self._guard is not None:
            info = self._guard.info
        if info is None:
            return None
        name, path, model = listed_name(info), Path(info.filename).absolute(), loaded_model()
        if getattr(model, "sd_checkpoint_info", None) is info:
            return Checkpoint(name, path, family_of(model), input_blocks(model))
        return unloaded(name, path)

    @contextmanager
    def borrow(self, checkpoint: str) -> Iterator[DiffusionModel]:
        assert self._turn.mine, "borrow is for inside of run"
        with switched_to(checkpoint) as model:
            refuse_what_cannot_be_shared(model)
            take_out_networks(model)
            let_go_of_files(model, engines(model).values())
            tokenizer = next(iter(tokenizers(model).values()))
            lent, aliases = model_over(model, tokenizer)
            self._guard = Guard(model, aliases)
            del aliases
            try:
                with self._guard.unharmed():
                    yield lent
            finally:
                self._guard = None

    def let_through(self) -> None:
        # A prompt would have another checkpoint loaded in place of ours; it waits, as it does without this.
        if self._guard is not None and not needs_reload():
            self._turn.step_aside(lambda: None)

    def prompt_context(self) -> PromptContext:
        model = loaded_model()
        known: dict[str, int] = {}
        for engine in engines(model).values():
            # A copy made in one go: another thread may be reading the folder anew.
            known |= {name: embedding.vectors for name, embedding in list(engine.embeddings.word_embeddings.items())}
        return PromptContext(tokenizers(model) or {"clip_l": self._own_tokenizer()}, known)

    def refresh(self, artifact: Path) -> None:
        with self._turn.locked():
            model = loaded_model()
            if artifact.absolute().is_relative_to(self.folders().loras):
                refresh_networks(model)
            else:
                refresh_embedding(engines(model).values(), artifact)
            forget_prompts()
