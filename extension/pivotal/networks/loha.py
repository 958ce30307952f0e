"""LoHa: the entrywise product of two changes of low rank (Hyeon-Woo et al. 2021, arXiv:2108.06098, 2.2).

(w1_a w1_b) * (w2_a w2_b) has up to rank^2 for the price of 2 rank. It starts as LyCORIS starts it: w1_a and w1_b normal with
deviations 0.1 and 1, w2_a at 0, w2_b normal.
"""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor, nn

from pivotal.networks.adapter import Parts, normal
from pivotal.networks.product import Product
from pivotal.networks.settings import LayerSettings


class LoHa(Product):
    """w1_a, w2_a (outputs, rank) and w1_b, w2_b (rank, inputs times kernel)."""

    needed: ClassVar = ("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b")
    plain: tuple[str, ...] = ("w1_a", "w1_b", "w2_b")
    faster: tuple[str, ...] = ("w2_a",)
    degree: int = 4

    def __init__(self, layer: nn.Module, settings: LayerSettings, generator: torch.Generator):
        super().__init__(layer, settings, generator)
        outputs, *inner = layer.weight.shape
        left, right = (outputs, settings.rank), (settings.rank, math.prod(inner))
        self.w1_a = self.own(normal(left, 0.1, generator))
        self.w1_b = self.own(normal(right, 1, generator))
        self.w2_b = self.own(normal(right, 1, generator))
        self.w2_a = self.own(torch.zeros(left))

    def build(self, *factors: Tensor) -> Tensor:
        w1_a, w1_b, w2_b, w2_a = factors
        return ((w1_a @ w1_b) * (w2_a @ w2_b)).view(self.layer.weight.shape)

    def tensors(self) -> dict[str, Tensor]:
        return self.with_lengths(self.written(
            hada_w1_a=self.w1_a, hada_w1_b=self.w1_b, hada_w2_a=self.w2_a, hada_w2_b=self.w2_b,
            alpha=torch.tensor(self.settings.file_alpha)))

    def load_factors(self, parts: Parts) -> None:
        for name in ("w1_a", "w1_b", "w2_b"):
            self.take(getattr(self, name), parts, f"hada_{name}")
        self.take(self.w2_a, parts, "hada_w2_a", self.scale_of(parts, self.settings.rank))

    @classmethod
    def rank_of(cls, parts: Parts) -> int:
        return parts["hada_w1_b"].shape[0]
