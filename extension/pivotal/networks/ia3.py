"""IA3: a learned factor per input or output of a layer (Liu et al. 2022, arXiv:2205.05638, 3.3).

As readers have it, the factor is 1 + weight and leaves the bias alone. Inputs are scaled in convolutions, where
AUTOMATIC1111 1.10.1 cannot read factors of outputs, and in the second layer of a feed-forward, which is told by its shape:
four times as many inputs as outputs. Elsewhere the outputs are.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from pivotal.errors import FormatError
from pivotal.networks.adapter import Adapter, Parts
from pivotal.networks.settings import LayerSettings
from pivotal.networks.weighted import by_columns


class Ia3(Adapter):
    """weight: (inputs,) or (outputs,), starting at 0."""

    needed: ClassVar = ("weight", "on_input")
    plain: tuple[str, ...] = ("weight",)

    def __init__(self, layer: nn.Module, settings: LayerSettings, generator: torch.Generator):
        super().__init__(layer, settings, generator)
        outputs, inputs = layer.weight.shape[:2]
        self.on_input = layer.weight.dim() == 4 or inputs == 4 * outputs
        self.weight = self.own(torch.zeros(inputs if self.on_input else outputs))

    def change(self, x: Tensor, y: Tensor) -> Tensor:
        if self.on_input:
            return by_columns(self.layer, x.to(y.dtype), self.weight)
        plain = y if self.layer.bias is None else y - self.layer.bias.to(y.dtype)
        return plain * self.weight.to(y.dtype)

    def delta(self) -> Tensor:
        weight = self.layer.weight.detach().float()
        shape = (1, -1) if self.on_input else (-1, 1)
        return weight * self.weight.view(*shape, *[1] * (weight.dim() - 2))

    def tensors(self) -> dict[str, Tensor]:
        shape = (1, -1, *[1] * (self.layer.weight.dim() - 2)) if self.on_input else (-1, 1)
        return self.written(weight=self.weight.view(shape), on_input=torch.tensor(float(self.on_input)))

    def load(self, parts: Parts) -> None:
        if "on_input" not in parts or bool(parts["on_input"]) != self.on_input:
            side = "inputs" if self.on_input else "outputs"
            raise FormatError(f"expected factors of the {side} of this layer (on_input), the file has others")
        self.take(self.weight, {**parts, "weight": parts["weight"].reshape(-1)}, "weight")
