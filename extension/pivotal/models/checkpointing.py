"""Computes layers twice instead of keeping what they had inside (Chen et al. 2016, arXiv:1604.06174)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from pivotal.models.diffusion import DiffusionModel


def checkpoint_model(model: DiffusionModel) -> None:
    """Switches it on for the UNet and the text encoders; to be undone by whoever lent the modules (models/lend.py)."""
    model.unet.enable_gradient_checkpointing()
    model.unet.train()  # diffusers checkpoints only in training mode; these networks have no dropout to switch on
    for encoder in model.text_encoders:
        inner = getattr(encoder.module, "text_model", encoder.module)
        for layer in inner.encoder.layers:
            layer.forward = _computed_twice(layer)


def _computed_twice(layer: nn.Module) -> Callable[..., Any]:
    """`layer`'s forward, checkpointed.

    Not by transformers' own switch: its reentrant form (4.30.2) gives a network inside of the layers no gradient, and no
    error, when the layers' input needs none, as without an embedding.
    """

    def forward(*inputs: Any, **named: Any) -> Any:
        plain = type(layer).forward
        if not torch.is_grad_enabled():
            return plain(layer, *inputs, **named)
        return checkpoint(plain, layer, *inputs, use_reentrant=False, preserve_rng_state=False, **named)

    return forward
