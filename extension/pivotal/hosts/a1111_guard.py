"""What may be done to AUTOMATIC1111's model while it is lent, by us or by the host. Seen with 1.10.1."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pivotal.hosts.watch import Watch

log = logging.getLogger(__name__)


class Guard:
    """Knows a lent model from what the host may make of it.

    The host has many ways: a checkpoint with the same yaml is written into the tensors of the one before, and so is
    another VAE; one with another yaml gets another model, and the one before goes to the meta device; unloading and
    "FP8 weight" move the weights (sd_models.py, reload_model_weights and reuse_model_from_already_loaded; sd_vae.py).
    POST /sdapi/v1/unload-checkpoint takes no lock (api.py).
    """

    def __init__(self, model: Any):
        self.model = model
        self._info, self._vae = model.sd_checkpoint_info, _vae_of(model)
        self._watch = Watch(model)

    @property
    def is_same(self) -> bool:
        """Whether the host has the same checkpoint and VAE loaded, whatever became of their values."""
        return loaded_model() is self.model and self.model.sd_checkpoint_info is self._info and _vae_of(self.model) == self._vae

    def changed(self) -> str | None:
        """See hosts.protocol.Host.changed."""
        name = self._info.name
        now = loaded_model()
        if now is None:
            return f"The WebUI has unloaded {name}; load it again to resume."
        if now is not self.model or now.sd_checkpoint_info is not self._info:
            return f"The WebUI has loaded {now.sd_checkpoint_info.name} instead of {name}; load {name} again to resume."
        if _vae_of(now) != self._vae:
            return f"The WebUI has loaded {_told(_vae_of(now))} instead of {_told(self._vae)}; choose that again to resume."
        moved = self._watch.moved()
        if moved is not None:
            return (f"The WebUI has moved or converted the weights of {name} ({moved}); it does when the checkpoint is "
                    "unloaded or FP8 weight is changed. Load it again to resume.")
        written = self._watch.written()
        if written is not None:
            return f"The weights of {name} were written to ({written}); load it again to resume."
        return None

    def remember(self) -> None:
        """Before others have the model: so that `forgive` knows what it was."""
        self._watch.remember()

    def forgive(self) -> None:
        """After others had the model: weights that were changed and changed back are as before."""
        self._watch.forgive()

    @contextmanager
    def unharmed(self) -> Iterator[None]:
        """On exit, raised through or not, no parameter has a gradient or flag that it had not before; says so if one had.

        Ours are other Parameter objects over the same memory, so this is a watch, not a remedy; but a write in place would
        be one into the user's checkpoint, and the version counter, which both share, tells of it.
        """
        before = [(name, weight, weight.requires_grad, weight.grad) for name, weight in self.model.named_parameters()]
        try:
            yield
        finally:
            for name, weight, requires_grad, grad in before:
                if weight.requires_grad != requires_grad or weight.grad is not grad:
                    log.error("The run left a gradient or a flag on the WebUI's %s; it is removed.", name)
                    weight.requires_grad_(requires_grad)
                    weight.grad = grad
            change = self.changed()
            if change is not None:
                log.error("When the run ended: %s", change)


def loaded_model() -> Any:
    """The model in memory, or None; `shared.sd_model` would load one, and make the caller wait for it."""
    from modules import sd_models

    return sd_models.model_data.sd_model


def _vae_of(model: Any) -> str | None:
    """The file of a VAE of its own, chosen in the settings or found beside the checkpoint (sd_vae.py)."""
    return getattr(model, "loaded_vae_file", None)


def _told(vae: str | None) -> str:
    return f"the VAE {Path(vae).name}" if vae else "the checkpoint's own VAE"
