"""The whole difference of a layer's weight and bias, without any rank: as a full fine-tuning, kept apart from the model.

In files `diff` and `diff_b`, as AUTOMATIC1111 1.10.1 reads them; alpha has no meaning.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from pivotal.networks.adapter import Adapter, Parts
from pivotal.networks.settings import LayerSettings
from pivotal.networks.weighted import weighted


class Full(Adapter):
    """weight in the shape of the layer's and bias (outputs,), both starting at 0."""

    needed: ClassVar = ("diff",)
    plain: tuple[str, ...] = ("weight",)

    def __init__(self, layer: nn.Module, settings: LayerSettings, generator: torch.Generator):
        super().__init__(layer, settings, generator)
        self.weight = self.own(torch.zeros(layer.weight.shape))
        has_bias = settings.train_bias and layer.bias is not None
        self.bias = self.own(torch.zeros(layer.weight.shape[0])) if has_bias else None

    def change(self, x: Tensor, y: Tensor) -> Tensor:
        change = weighted(self.layer, x.to(y.dtype), self.weight.to(y.dtype))
        if self.bias is not None:
            return change + self.bias.to(y.dtype).view(-1, *[1] * (y.dim() - 2 if y.dim() == 4 else 0))
        return change

    def delta(self) -> Tensor:
        return self.weight

    def tensors(self) -> dict[str, Tensor]:
        return self.written(diff=self.weight) | ({} if self.bias is None else self.written(diff_b=self.bias))

    def load(self, parts: Parts) -> None:
        self.take(self.weight, parts, "diff")
        if self.bias is not None and "diff_b" in parts:
            self.take(self.bias, parts, "diff_b")
