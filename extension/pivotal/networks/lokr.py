"""LoKr: a Kronecker product of a small whole matrix and a larger one of low rank (Yeh et al. 2023, arXiv:2309.14859, 3.2;
the product is Edalati et al.'s, arXiv:2212.10650).

The larger matrix is whole where low rank would not save anything; the scale is then 1, as readers have it. w1 starts as
torch starts a linear layer; w2, or its second factor, at 0.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import ClassVar

import torch
from torch import Tensor, nn

from pivotal.errors import FormatError
from pivotal.networks.adapter import Parts, kaiming
from pivotal.networks.product import Product
from pivotal.networks.settings import LayerSettings


class LoKr(Product):
    """w1 (a, c), and w2 (b, d times kernel) or w2_a (b, rank) with w2_b (rank, d times kernel); a b outputs, c d inputs."""

    needed: ClassVar = ()  # one of several sets: see `method_of`

    def __init__(self, layer: nn.Module, settings: LayerSettings, generator: torch.Generator):
        super().__init__(layer, settings, generator)
        outputs, inputs, *kernel = layer.weight.shape
        small_out, small_in = (small_factor(size, settings.factor) for size in (outputs, inputs))
        large_out, large_in = outputs // small_out, inputs // small_in
        pixels = math.prod(kernel)
        self.kernel = tuple(kernel)
        self.is_whole = settings.rank >= max(large_out, large_in) / 2
        self.w1 = self.own(kaiming((small_out, small_in), generator))
        if self.is_whole:
            self.scale = 1.0
            self.w2 = self.own(torch.zeros(large_out, large_in * pixels))
            self.plain, self.faster, self.degree = ("w1",), ("w2",), 2
        else:
            self.w2_a = self.own(kaiming((large_out, settings.rank), generator))
            self.w2_b = self.own(torch.zeros(settings.rank, large_in * pixels))
            self.plain, self.faster, self.degree = ("w1", "w2_a"), ("w2_b",), 3

    def build(self, *factors: Tensor) -> Tensor:
        w1, w2 = factors[0], factors[1] if self.is_whole else factors[1] @ factors[2]
        # The Kronecker product, in one multiplication.
        return (w1[:, None, :, None] * w2[None, :, None, :]).reshape(self.layer.weight.shape)

    def tensors(self) -> dict[str, Tensor]:
        if self.is_whole:
            w2 = self.w2.view(self.w2.shape[0], -1, *self.kernel)
            # Other readers than AUTOMATIC1111 divide by the rank that the file was made with.
            found = self.written(lokr_w1=self.w1, lokr_w2=w2, alpha=torch.tensor(float(self.settings.rank)))
        else:
            found = self.written(lokr_w1=self.w1, lokr_w2_a=self.w2_a, lokr_w2_b=self.w2_b,
                                 alpha=torch.tensor(self.settings.file_alpha))
        return self.with_lengths(found)

    def load_factors(self, parts: Parts) -> None:
        if "lokr_w1" not in parts and "lokr_w1_a" in parts:
            parts = {**parts, "lokr_w1": parts["lokr_w1_a"].float() @ parts["lokr_w1_b"].float()}
        self.take(self.w1, parts, "lokr_w1")
        if self.is_whole:
            if "lokr_w2" not in parts:
                raise FormatError(f"lokr_w2 is of rank {self.rank_of(parts)}; a smaller rank than {self.settings.rank} is needed")
            rank = parts["lokr_w1_b"].shape[0] if "lokr_w1_b" in parts else None
            file_scale = float(parts["alpha"]) / rank if rank and "alpha" in parts else 1.0
            flat = {**parts, "lokr_w2": parts["lokr_w2"].flatten(1)}
            self.take(self.w2, flat, "lokr_w2", file_scale)
        else:
            self.take(self.w2_a, parts, "lokr_w2_a")
            flat = {**parts, "lokr_w2_b": parts["lokr_w2_b"].flatten(1)} if "lokr_w2_b" in parts else parts
            self.take(self.w2_b, flat, "lokr_w2_b", self.scale_of(parts, self.settings.rank))

    @classmethod
    def read(cls, parts: Parts) -> LayerSettings:
        """The larger side of w1 is the factor that leads to it again, as LyCORIS' and our own sizes go."""
        settings = super().read(parts)
        w1 = [*parts["lokr_w1"].shape] if "lokr_w1" in parts else [parts["lokr_w1_a"].shape[0], parts["lokr_w1_b"].shape[1]]
        return replace(settings, factor=max(w1))

    @classmethod
    def rank_of(cls, parts: Parts) -> int:
        if "lokr_w2_b" in parts:
            return parts["lokr_w2_b"].shape[0]
        return max(parts["lokr_w2"].shape[:2])  # whole: any rank that is at least this large


def small_factor(size: int, largest: int | None) -> int:
    """The largest divisor of `size` not above `largest` and the root of `size`: 320 -> 16, 320 with 8 -> 8."""
    limit = min(math.isqrt(size), largest or size)
    return next(divisor for divisor in range(limit, 0, -1) if size % divisor == 0)
