"""reForge (Panchovix/stable-diffusion-webui-reForge) as a host. Seen with main, commit 3b56b268.

A relative of AUTOMATIC1111 in its queue, its folders, its checkpoints and its embeddings, and of Forge in its models.
Forge before August 2024 is built in the same way.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pivotal.hosts.a1111 import A1111Host, is_chosen
from pivotal.hosts.forge_bundles import read_bundle, reads_bundles
from pivotal.hosts.forge_checkpoint import loaded_model
from pivotal.hosts.forge_refresh import STALE
from pivotal.hosts.reforge_model import (
    ReforgeGuard,
    family_of,
    model_over,
    refuse_what_cannot_be_shared,
    take_out_networks,
)
from pivotal.models.diffusion import DiffusionModel


class ReforgeHost(A1111Host):
    """See hosts.protocol.Host."""

    name = "reforge"

    def __init__(self) -> None:
        super().__init__()
        self._watched: ReforgeGuard | None = None  # while a model is lent

    @property
    def reads_bundles(self) -> bool:
        """By what we add to the host; see reforge_bundles.py."""
        return reads_bundles()

    @contextmanager
    def _lent(self, model: Any, tokenizer: Any) -> Iterator[DiffusionModel]:
        refuse_what_cannot_be_shared(model)
        take_out_networks(model)
        lent, aliases = model_over(model, tokenizer)
        self._watched = ReforgeGuard(model, aliases)
        del aliases
        try:
            with self._watched.unharmed():
                yield lent
        finally:
            self._watched = None

    def _family(self, model: Any) -> str:
        return family_of(model)

    def changed(self) -> str | None:
        return None if self._watched is None else self._watched.changed()

    def let_through(self) -> None:
        """A LoRA in a prompt leaves our tensors alone, for it gets others: there is nothing to take out afterwards."""
        # A prompt would have the chosen checkpoint loaded in place of ours; it waits, as it does without this.
        if self._watched is not None and is_chosen(self._watched.info):
            self._turn.step_aside(lambda: None)

    def _refresh_networks(self, artifact: Path) -> None:
        """Two memories go by a LoRA's file name: its tensors, and which LoRAs are in the weights (Lora/networks.py)."""
        read_bundle.cache_clear()
        networks = sys.modules.get("networks")  # of the built-in extension; absent when that is disabled
        if hasattr(networks, "load_lora_state_dict"):
            networks.load_lora_state_dict.cache_clear()
            networks.list_available_networks()
        model = loaded_model()
        if model is not None:
            model.current_lora_hash = STALE
