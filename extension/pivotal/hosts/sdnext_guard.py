"""What may be done to SD.Next's model while it is lent, by us or by the host. Seen with 058a7f0 (July 2026)."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

from pivotal.hosts.sdnext_model import ENCODERS, parts_of
from pivotal.hosts.watch import Watch

log = logging.getLogger(__name__)

# What the host leaves on a layer that a LoRA was put into (lora_apply.py); the first is a copy, or True where it made none.
MARKS = ("network_weights_backup", "network_bias_backup", "network_current_names")


class Guard:
    """Knows a lent model from what the host may make of it, and undoes the LoRAs of prompts that were let through.

    The pipeline object is no sign: img2img and inpainting make another one of the same modules (sd_models.py,
    switch_pipe). A LoRA makes new Parameters of the layers it changes and, taken out again, leaves their rounding, or
    half of itself when its strength was changed in between (lora_apply.py; .85 was seen). So the Parameters that were
    there are put back, which is exact.
    """

    def __init__(self, pipe: Any):
        self._info, self._parts = pipe.sd_checkpoint_info, parts_of(pipe)
        self._weights = [(module, key, weight) for part in self._parts.values() for module in part.modules()
                         for key, weight in module._parameters.items() if weight is not None and not is_table(module)]
        self._watch = Watch(_watched(self._parts))

    def changed(self) -> str | None:
        """See hosts.protocol.Host.changed."""
        name, pipe = self._info.name, loaded_pipe()
        if self._is_unloaded(pipe):
            return f"SD.Next has unloaded {name}; load it again to resume."
        if pipe.sd_checkpoint_info.filename != self._info.filename:
            return f"SD.Next has loaded {pipe.sd_checkpoint_info.name} instead of {name}; load {name} again to resume."
        other = self._other_part(pipe)
        if other is not None:
            return f"SD.Next has loaded another {other} than {name} had; choose the one before, or load {name} again, to resume."
        moved = self._watch.moved()
        if moved is not None:
            return f"SD.Next has moved or converted the weights of {name} ({moved}). Load it again to resume."
        written = self._watch.written()
        return None if written is None else f"The weights of {name} were written to ({written}); load it again to resume."

    def put_back(self) -> None:
        """After others had the model: every layer has the very weights that were lent, and no LoRA is in use."""
        pipe = loaded_pipe()
        if self._is_unloaded(pipe) or self._other_part(pipe) is not None:
            return
        if all(module._parameters.get(key) is weight for module, key, weight in self._weights):
            return
        for module, key, weight in self._weights:
            module._parameters[key] = weight
        for part in self._parts.values():
            forget_networks(part)
        forget_active_networks(pipe)

    def _is_unloaded(self, pipe: Any) -> bool:
        """Or is being unloaded: the weights go to the meta device first (sd_models.py, unload_model_weights)."""
        return pipe is None or any(next(part.parameters()).is_meta for part in self._parts.values())

    def _other_part(self, pipe: Any) -> str | None:
        """The name of a module that is another object now."""
        now = parts_of(pipe)
        return next((name for name, part in self._parts.items() if now.get(name) is not part), None)

    @contextmanager
    def unharmed(self) -> Iterator[None]:
        """On exit, raised through or not, the weights are the lent ones; says so if something was done to them."""
        try:
            yield
        finally:
            self.put_back()
            change = self.changed()
            if change is not None:
                log.error("When the run ended: %s", change)


def loaded_pipe() -> Any:
    """The pipeline in memory, or None; `shared.sd_model` would load one, and make the caller wait for it.

    Some wrap the one that has the modules (networks.py).
    """
    from modules import modeldata

    pipe = modeldata.model_data.sd_model
    return getattr(pipe, "pipe", pipe)


def had_networks(pipe: Any) -> bool:
    """Whether a LoRA is, or ever was, in the weights since they were loaded; or wraps the modules (peft)."""
    return any(getattr(module, MARKS[0], None) is not None or getattr(module, MARKS[1], None) is not None
               or hasattr(module, "lora_A") for part in parts_of(pipe).values() for module in part.modules())


def forget_networks(part: nn.Module) -> None:
    """Takes the host's marks off the layers of a module whose weights are those of the checkpoint."""
    for module in part.modules():
        for mark in MARKS:
            vars(module).pop(mark, None)


def forget_active_networks(pipe: Any) -> None:
    """So that the next prompt with a LoRA puts it in: the host compares names and strengths with the last one's."""
    from modules.lora import lora_common

    lora_common.loaded_networks.clear()
    lora_common.previously_loaded_networks.clear()
    getattr(pipe, "loaded_loras", {}).clear()


def is_table(module: nn.Module) -> bool:
    """Whether it is a table of tokens, to which the host appends rows for embeddings."""
    return isinstance(module, nn.Embedding) and module.weight.shape[0] > 1000


def _watched(parts: dict[str, nn.Module]) -> nn.Module:
    """The modules, of text encoders the layers only: their table of tokens is written when an embedding is loaded."""
    return nn.ModuleDict({name: getattr(part, "text_model", part).encoder if name in ENCODERS else part
                          for name, part in parts.items()})
