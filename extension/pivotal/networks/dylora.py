"""DyLoRA: one LoRA that is good at every smaller rank, too (Valipour et al. 2022, arXiv:2210.07558).

Each step draws a rank; the ranks up to it are used, and only the last unit of them is trained (the paper's frozen variant).
Where we differ from kohya: it draws anew at every call, in validation and recomputed layers as well, keeps the unused ranks
in the output, and multiplies by sqrt(rank / drawn), which no reader of its files does. Here a step draws once for all
layers, ranks beyond the drawn one are left out, the scale is alpha / rank throughout, and all ranks serve outside training.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pivotal.networks.lora import Lora
from pivotal.networks.settings import LayerSettings


class DyLora(Lora):
    """A LoRA whose `trained` is the part that the step has drawn; its files are a LoRA's."""

    def __init__(self, layer: nn.Module, settings: LayerSettings, generator: torch.Generator):
        super().__init__(layer, settings, generator)
        self.block: tuple[int, int] | None = None  # ranks from, to: those that the step trains

    def share(self, fraction: float) -> None:
        unit = self.settings.unit
        start = int(fraction * (self.settings.rank // unit)) * unit
        self.block = (start, start + unit)

    def trained(self) -> tuple[Tensor, Tensor]:
        if self.block is None or not self.training:
            return self.down, self.up
        start, end = self.block
        down = torch.cat([self.down[:start].detach(), self.down[start:end]])
        up = torch.cat([self.up[:, :start].detach(), self.up[:, start:end]], dim=1)
        return down, up
