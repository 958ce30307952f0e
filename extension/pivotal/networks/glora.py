"""GLoRA: W + W A + B, both A and B of low rank (Chavan et al. 2023, arXiv:2306.07967, eq. 10, the parts that LyCORIS keeps).

AUTOMATIC1111 1.10.1 reads it on linear layers alone and overlooks alpha; so the scale is put into the written factors, and
the alpha of the file says 1 to those that read it. a1 and b1 start as torch starts a linear layer, a2 and b2 at 0.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from pivotal.networks.adapter import Adapter, Parts, kaiming
from pivotal.networks.settings import LayerSettings


class GLora(Adapter):
    """a1, b1 (rank, inputs), a2 (inputs, rank), b2 (outputs, rank): W + scale (W a2 a1 + b2 b1)."""

    needed: ClassVar = ("a1.weight", "a2.weight", "b1.weight", "b2.weight")
    plain: tuple[str, ...] = ("a1", "b1")
    faster: tuple[str, ...] = ("a2", "b2")
    degree: int = 2

    def __init__(self, layer: nn.Module, settings: LayerSettings, generator: torch.Generator):
        super().__init__(layer, settings, generator)
        outputs, inputs = layer.weight.shape
        self.scale = settings.scale
        self.a1 = self.own(kaiming((settings.rank, inputs), generator))
        self.b1 = self.own(kaiming((settings.rank, inputs), generator))
        self.a2 = self.own(torch.zeros(inputs, settings.rank))
        self.b2 = self.own(torch.zeros(outputs, settings.rank))

    def change(self, x: Tensor, y: Tensor) -> Tensor:
        x = x.to(y.dtype)
        a1, b1 = self.a1.to(y.dtype), self.b1.to(y.dtype)
        a2, b2 = (self.a2 * self.scale).to(y.dtype), (self.b2 * self.scale).to(y.dtype)
        moved = functional.linear(functional.linear(x, a1), a2)
        weight = self.layer.weight.detach().to(y.dtype)
        return functional.linear(moved, weight) + functional.linear(functional.linear(x, b1), b2)

    def delta(self) -> Tensor:
        return ((self.layer.weight.detach().float() @ self.a2) @ self.a1 + self.b2 @ self.b1) * self.scale

    def tensors(self) -> dict[str, Tensor]:
        parts = self.written(a1__weight=self.a1, b1__weight=self.b1, alpha=torch.tensor(float(self.settings.rank)))
        return parts | self.written(a2__weight=self.a2 * self.scale, b2__weight=self.b2 * self.scale)

    def load(self, parts: Parts) -> None:
        for name in self.plain:
            self.take(getattr(self, name), parts, f"{name}.weight")
        for name in self.faster:  # alpha as AUTOMATIC1111 reads it: not at all
            self.take(getattr(self, name), parts, f"{name}.weight", 1 / self.scale)

    @classmethod
    def read(cls, parts: Parts) -> LayerSettings:
        return LayerSettings(rank=cls.rank_of(parts), alpha=float(cls.rank_of(parts)))

    @classmethod
    def rank_of(cls, parts: Parts) -> int:
        return parts["a1.weight"].shape[0]
