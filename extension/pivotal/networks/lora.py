"""LoRA: a change of low rank, W + scale up down (Hu et al. 2021, arXiv:2106.09685).

For convolutions down has the layer's kernel and up is 1 x 1 (LoCon). `down` starts as torch starts a linear layer, `up` at 0.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from pivotal.networks.adapter import Adapter, Parts, kaiming
from pivotal.networks.dora import (
    column_lengths,
    low_rank_lengths,
    refuse_lengths,
    take_lengths,
    written_lengths,
)
from pivotal.networks.settings import LayerSettings
from pivotal.networks.weighted import by_columns, weighted


class Lora(Adapter):
    """down (rank, inputs[, kernel]), up (outputs, rank[, 1, 1]); with DoRA also lengths (inputs,)."""

    needed: ClassVar = ("lora_down.weight", "lora_up.weight")
    plain: tuple[str, ...] = ("down",)
    faster: tuple[str, ...] = ("up",)
    degree: int = 2

    def __init__(self, layer: nn.Module, settings: LayerSettings, generator: torch.Generator):
        super().__init__(layer, settings, generator)
        outputs, *inner = layer.weight.shape
        self.scale = settings.scale
        self.down = self.own(kaiming((settings.rank, *inner), generator))
        self.up = self.own(torch.zeros(outputs, settings.rank, *[1] * (len(inner) - 1)))
        self.lengths: nn.Parameter | None = None
        if settings.dora:
            squares = column_lengths(layer.weight.detach()).square()
            self.register_buffer("squares", squares, persistent=False)
            # By the function that the forward uses, so that their ratio is exactly 1 at the start.
            self.lengths = self.own(self._column_lengths())
        self.drops = bool(settings.dropout or settings.rank_dropout)

    def change(self, x: Tensor, y: Tensor) -> Tensor:
        x = x.to(y.dtype)
        down, up = self.trained()
        if self.lengths is None:
            return self._low_rank(x, down, up)
        # With g = lengths / |W + D|: (W + D) g - W = W (g - 1) + D g.
        ratio = self.lengths / self._column_lengths()
        down = down * ratio.view(-1, *[1] * (down.dim() - 2))
        return by_columns(self.layer, x, ratio - 1) + self._low_rank(x, down, up)

    def trained(self) -> tuple[Tensor, Tensor]:
        """down and up as this step uses them."""
        return self.down, self.up

    def delta(self) -> Tensor:
        return (self.up.flatten(1) @ self.down.flatten(1)).view(self.layer.weight.shape) * self.scale

    def tensors(self) -> dict[str, Tensor]:
        parts = self.written(lora_down__weight=self.down, lora_up__weight=self.up, alpha=torch.tensor(self.settings.file_alpha))
        if self.lengths is not None:
            parts |= self.written(dora_scale=written_lengths(self.lengths, self.layer.weight))
        return parts

    def load(self, parts: Parts) -> None:
        refuse_lengths(parts, is_on=self.lengths is not None)
        self.take(self.down, parts, "lora_down.weight")
        self.take(self.up, parts, "lora_up.weight", self.scale_of(parts, self.settings.rank))
        if self.lengths is not None:
            take_lengths(self.lengths, parts, self.layer.weight.detach().float() + self.delta().detach())

    @classmethod
    def rank_of(cls, parts: Parts) -> int:
        return parts["lora_down.weight"].shape[0]

    def _low_rank(self, x: Tensor, down: Tensor, up: Tensor) -> Tensor:
        inner = weighted(self.layer, x, down.to(x.dtype))
        if self.drops and self.training:
            inner = self._dropped(inner)
        up = up.to(x.dtype) if self.scale == 1 else (up * self.scale).to(x.dtype)  # the smallest thing to scale
        return functional.conv2d(inner, up) if up.dim() == 4 else functional.linear(inner, up)

    @torch.no_grad()
    def _column_lengths(self) -> Tensor:
        return low_rank_lengths(self.layer.weight, self.down, self.up.flatten(1) * self.scale, self.squares)

    def _dropped(self, inner: Tensor) -> Tensor:
        """Leaves out values and, per sample, whole ranks, and enlarges the others so that the mean stays."""
        generator = torch.Generator(inner.device).manual_seed(self.seed)
        ranks = 1 if inner.dim() == 4 else -1
        places = [inner.shape[0], *[1] * (inner.dim() - 1)]
        places[ranks] = inner.shape[ranks]
        for share, shape in ((self.settings.dropout, inner.shape), (self.settings.rank_dropout, places)):
            if share:
                kept = torch.rand(shape, generator=generator, device=inner.device) >= share
                inner = inner * (kept / (1 - share)).to(inner.dtype)
        return inner
