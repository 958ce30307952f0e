"""What OFT and BOFT share: orthogonal blocks by Cayley's transform, which turn a layer's outputs.

A turned weight is a turned output, bias aside, so no weight is built. What is computed is the change, R y - y: the sum of a
number and a small change would lose the change in half precision.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pivotal.models.devices import without_autocast
from pivotal.networks.adapter import Adapter, Parts
from pivotal.networks.settings import LayerSettings

# As `alpha` in files: no limit. kohya's readers, and SD.Next after them (network_oft.py), take 0 for a limit of 0 and turn
# nothing; no layer's Q is as long as this times its outputs.
FREE = 1000.0


class Rotation(Adapter):
    """blocks (..., size, size); their antisymmetric part is Q, which starts at 0."""

    plain: tuple[str, ...] = ("blocks",)

    def __init__(self, layer: nn.Module, settings: LayerSettings, generator: torch.Generator):
        super().__init__(layer, settings, generator)
        self.limit = settings.constraint * layer.weight.shape[0]
        self.blocks = self.own(torch.zeros(self.shape(layer.weight.shape[0], settings.rank)))

    @staticmethod
    def shape(outputs: int, rank: int) -> tuple[int, ...]:
        """Of `blocks`, for a layer with so many outputs and blocks no larger than `rank`."""
        raise NotImplementedError

    def turned(self, z: Tensor) -> Tensor:
        """(B, outputs, places) -> the change of it, R z - z."""
        raise NotImplementedError

    def change(self, x: Tensor, y: Tensor) -> Tensor:
        bias = self.layer.bias
        if y.dim() == 4:
            z = y if bias is None else y - bias.to(y.dtype)[:, None, None]
            return self.turned(z.flatten(2)).view(y.shape)
        z = y if bias is None else y - bias.to(y.dtype)
        return self.turned(z.reshape(1, -1, z.shape[-1]).transpose(1, 2)).transpose(1, 2).reshape(y.shape)

    def rotations(self) -> Tensor:
        """R - 1 = 2 (1 - Q)^-1 Q of every block, where R = (1 + Q) (1 - Q)^-1, fp32."""
        with without_autocast(self.blocks.device):
            q = self.blocks - self.blocks.transpose(-1, -2)
            if self.limit:
                # As the readers of such files shrink it: all blocks of a layer together.
                norm = q.detach().norm()
                q = q * ((norm.clamp_max(self.limit) + 1e-8) / (norm + 1e-8))
            one = torch.eye(q.shape[-1], device=q.device)
            # Not `solve`, which waits for the device to tell whether it went well: the eigenvalues are 1 + ib, and none is 0.
            return 2 * torch.linalg.solve_ex(one - q, q)[0]

    def delta(self) -> Tensor:
        weight = self.layer.weight.detach().float()
        return self.turned(weight.flatten(1)[None])[0].view(weight.shape)

    def limit_norm(self, largest: float) -> None:
        """Does nothing: a rotation has no size; `constraint` limits it."""

    def tensors(self) -> dict[str, Tensor]:
        return self.written(oft_blocks=self.blocks, alpha=torch.tensor(float(self.settings.constraint or FREE)))

    def load(self, parts: Parts) -> None:
        self.take(self.blocks, parts, "oft_blocks")

    @classmethod
    def rank_of(cls, parts: Parts) -> int:
        return parts["oft_blocks"].shape[-1]

    @classmethod
    def read(cls, parts: Parts) -> LayerSettings:
        limit = float(parts.get("alpha", 0.0))
        return LayerSettings(rank=cls.rank_of(parts), alpha=1.0, constraint=limit if limit < FREE else 0.0)
