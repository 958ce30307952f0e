"""reForge (Panchovix/stable-diffusion-webui-reForge) as a host. Seen with main, commit 3b56b268.

A relative of AUTOMATIC1111 in its queue, its folders, its checkpoints and its embeddings, and of Forge in its models.
Forge before August 2024 is built in the same way.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pivotal.hosts.a1111_checkpoint import described, is_chosen, switched_to
from pivotal.hosts.a1111_refresh import forget_prompts, refresh_embeddings
from pivotal.hosts.a1111_text import prompt_context, tokenizers
from pivotal.hosts.forge_bundles import read_bundle, reads_bundles
from pivotal.hosts.forge_checkpoint import loaded_model
from pivotal.hosts.forge_refresh import STALE
from pivotal.hosts.protocol import Checkpoint, NetworkReader, PromptContext
from pivotal.hosts.reforge_model import (
    ReforgeGuard,
    family_of,
    model_over,
    refuse_what_cannot_be_shared,
    take_out_networks,
)
from pivotal.hosts.webui import WebuiHost
from pivotal.models.diffusion import DiffusionModel


class ReforgeHost(WebuiHost[ReforgeGuard]):
    """See hosts.protocol.Host."""

    name = "reforge"
    # ldm_patched/modules/lora.py, load_lora.
    network_reader = NetworkReader({"ia3": "reForge knows no IA3, and leaves all of such a file out"})

    @property
    def reads_bundles(self) -> bool:
        """By what we add to the host; see reforge_bundles.py."""
        return reads_bundles()

    def checkpoint(self) -> Checkpoint | None:
        return described(family_of)

    @contextmanager
    def borrow(self, checkpoint: str) -> Iterator[DiffusionModel]:
        assert self._turn.mine, "borrow is for inside of run"
        with switched_to(checkpoint) as model:
            text = tokenizers(model, family_of(model)) or {"": self._own_tokenizer()}
            refuse_what_cannot_be_shared(model)
            take_out_networks(model)
            lent, aliases = model_over(model, next(iter(text.values())))
            self._guard = ReforgeGuard(model, aliases)
            del aliases
            try:
                with self._guard.unharmed():
                    yield lent
            finally:
                self._guard = None

    def let_through(self) -> None:
        """A LoRA in a prompt leaves our tensors alone, for it gets others: there is nothing to take out afterwards."""
        # A prompt would have the chosen checkpoint loaded in place of ours; it waits, as it does without this.
        if self._guard is not None and is_chosen(self._guard.info):
            self._turn.step_aside(lambda: None)

    def prompt_context(self) -> PromptContext:
        return prompt_context(family_of, self._own_tokenizer)

    def refresh(self, artifact: Path) -> None:
        with self._turn.locked():
            if artifact.absolute().is_relative_to(self.folders().loras):
                _refresh_networks()
            else:
                refresh_embeddings(artifact)
            forget_prompts()


def _refresh_networks() -> None:
    """Two memories go by a LoRA's file name: its tensors, and which LoRAs are in the weights (Lora/networks.py)."""
    read_bundle.cache_clear()
    networks = sys.modules.get("networks")  # of the built-in extension; absent when that is disabled
    if hasattr(networks, "load_lora_state_dict"):
        networks.load_lora_state_dict.cache_clear()
        networks.list_available_networks()
    model = loaded_model()
    if model is not None:
        model.current_lora_hash = STALE
