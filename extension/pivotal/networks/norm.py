"""The difference of a norm layer's weight and bias, as LyCORIS' train_norm; in files `w_norm` and `b_norm`."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from pivotal.networks.adapter import Adapter, Parts
from pivotal.networks.settings import LayerSettings


class Norm(Adapter):
    """weight and bias (channels,), starting at 0."""

    needed: ClassVar = ("w_norm", "b_norm")
    plain: tuple[str, ...] = ("weight",)

    def __init__(self, layer: nn.Module, settings: LayerSettings, generator: torch.Generator):
        super().__init__(layer, settings, generator)
        self.weight = self.own(torch.zeros(layer.weight.shape))
        self.bias = self.own(torch.zeros(layer.weight.shape))

    def change(self, x: Tensor, y: Tensor) -> Tensor:
        # Normalized again with the differences in place of the sums, which half precision would round away.
        x, weight, bias = x.to(y.dtype), self.weight.to(y.dtype), self.bias.to(y.dtype)
        if isinstance(self.layer, nn.GroupNorm):
            return functional.group_norm(x, self.layer.num_groups, weight, bias, self.layer.eps)
        return functional.layer_norm(x, self.layer.normalized_shape, weight, bias, self.layer.eps)

    def delta(self) -> Tensor:
        return self.weight

    def tensors(self) -> dict[str, Tensor]:
        return self.written(w_norm=self.weight, b_norm=self.bias)

    def load(self, parts: Parts) -> None:
        self.take(self.weight, parts, "w_norm")
        self.take(self.bias, parts, "b_norm")
