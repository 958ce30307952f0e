"""What may be done to Forge's model while it is lent, by us or by the host. Seen with f2.0.1v1.10.1."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from pivotal.hosts.checkpoint_list import listed_name
from pivotal.hosts.forge_checkpoint import loaded_model

log = logging.getLogger(__name__)

PROBED, VALUES = 8, 16  # tensors, and values of each


class Guard:
    """Knows a lent model from what the host may make of it.

    The host never writes into a model: another checkpoint, another VAE, and "Diffusion in Low Bits" each get a new one at
    the next generation (sd_models.py, forge_model_reload); a LoRA gets tensors of its own, which ours are not
    (backend/patcher/lora.py). Unloading, by API without the lock, moves the host's to another device and leaves ours. So
    it is enough that the model is the same object; against extensions that write into it a few values are compared.

    Args:
        aliases: of all its tensors, that have a version counter each; the host's have none (see forge_model.py).
    """

    def __init__(self, model: Any, aliases: Mapping[str, Tensor]):
        self.model, self.info = model, model.sd_checkpoint_info
        self._aliases = [(name, tensor, tensor._version) for name, tensor in aliases.items()]
        chosen = self._aliases[:: max(1, len(self._aliases) // PROBED)][:PROBED]
        self._probes = [(name, _first_values(tensor), _first_values(tensor).clone()) for name, tensor, _ in chosen]

    def changed(self) -> str | None:
        """See hosts.protocol.Host.changed."""
        now, name = loaded_model(), listed_name(self.info)
        if now is None:
            return f"The WebUI has unloaded {name}; load it again to resume."
        if now is not self.model:
            return (f"The WebUI has loaded {listed_name(now.sd_checkpoint_info)} anew, instead of {name} or with other "
                    f"settings; load {name} again to resume.")
        written = self._written()
        return None if written is None else f"The weights of {name} were written to ({written}); load it again to resume."

    def _written(self) -> str | None:
        """The first tensor whose probed values are others now; each device is asked once, for it is waited for then."""
        asked: dict[torch.device, list[tuple[str, Tensor]]] = {}
        for name, live, before in self._probes:
            asked.setdefault(live.device, []).append((name, (live != before).any()))
        for found in asked.values():
            for (name, _), is_other in zip(found, torch.stack([other for _, other in found]).tolist(), strict=True):
                if is_other:
                    return name
        return None

    @contextmanager
    def unharmed(self) -> Iterator[None]:
        """On exit, raised through or not, no parameter has a gradient or flag that it had not before; says so if one had.

        Ours are other objects over the same memory, so this is a watch, not a remedy; but a write in place would be one
        into the user's checkpoint, and the version counter of the alias tells of it.
        """
        before = [(name, weight, weight.requires_grad, weight.grad) for name, weight in _parameters(self.model)]
        try:
            yield
        finally:
            for name, weight, requires_grad, grad in before:
                if weight.requires_grad != requires_grad or weight.grad is not grad:
                    log.error("The run left a gradient or a flag on the WebUI's %s; it is removed.", name)
                    weight.requires_grad_(requires_grad)
                    weight.grad = grad
            written = next((name for name, tensor, version in self._aliases if tensor._version != version), None)
            if written is not None:
                log.error("The run wrote into the WebUI's %s; load the checkpoint again.", written)


def _first_values(tensor: Tensor) -> Tensor:
    return tensor.flatten()[:VALUES] if tensor.is_contiguous() else tensor[(0,) * (tensor.ndim - 1)][:VALUES]


def _parameters(model: Any) -> Iterator[tuple[str, nn.Parameter]]:
    parts = model.forge_objects_original
    yield from parts.unet.model.diffusion_model.named_parameters()
    yield from parts.clip.cond_stage_model.named_parameters()
    yield from parts.vae.first_stage_model.named_parameters()
