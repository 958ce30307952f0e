"""What LoHa and LoKr share: a change that is no product of two thin matrices, so its whole weight is built."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pivotal.networks.adapter import Adapter, Parts
from pivotal.networks.dora import column_lengths, refuse_lengths, resized, take_lengths, written_lengths
from pivotal.networks.settings import LayerSettings
from pivotal.networks.weighted import rebuilt


class Product(Adapter):
    """Builds the change anew on the way back, so that a layer keeps its inputs and the factors only."""

    def __init__(self, layer: nn.Module, settings: LayerSettings, generator: torch.Generator):
        super().__init__(layer, settings, generator)
        self.scale = settings.scale
        self.lengths = self.own(column_lengths(layer.weight.detach())) if settings.dora else None

    def build(self, *factors: Tensor) -> Tensor:
        """The change before the scale, in the weight's shape, from `factors()`."""
        raise NotImplementedError

    def change(self, x: Tensor, y: Tensor) -> Tensor:
        lengths = () if self.lengths is None else (self.lengths,)
        return rebuilt(self.layer, x.to(y.dtype), self._effective, *self.factors(), *lengths)

    def delta(self) -> Tensor:
        return self.build(*self.factors()) * self.scale

    def load(self, parts: Parts) -> None:
        refuse_lengths(parts, is_on=self.lengths is not None)
        self.load_factors(parts)
        if self.lengths is not None:
            take_lengths(self.lengths, parts, self.layer.weight.detach().float() + self.delta().detach())

    def load_factors(self, parts: Parts) -> None:
        """`load` without DoRA's lengths."""
        raise NotImplementedError

    def with_lengths(self, parts: dict[str, Tensor]) -> dict[str, Tensor]:
        """A file's parts, those of DoRA added where it is on."""
        if self.lengths is None:
            return parts
        return parts | self.written(dora_scale=written_lengths(self.lengths, self.layer.weight))

    def _effective(self, *factors: Tensor) -> Tensor:
        if self.lengths is None:
            return self.build(*factors) * self.scale
        return resized(self.layer.weight, self.build(*factors[:-1]) * self.scale, factors[-1])
