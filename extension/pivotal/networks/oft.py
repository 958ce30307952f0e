"""OFT: the outputs of a layer turned by orthogonal blocks along the diagonal (Qiu et al. 2023, arXiv:2306.07280).

In files as kohya has it (`oft_blocks`, `alpha` is the constraint); readers multiply the weight by the blocks transposed.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from pivotal.networks.rotation import Rotation


class Oft(Rotation):
    """blocks (outputs / size, size, size), the size being the largest divisor of the outputs up to `rank`."""

    needed: ClassVar = ("oft_blocks",)

    @staticmethod
    def shape(outputs: int, rank: int) -> tuple[int, ...]:
        size = next(size for size in range(min(rank, outputs), 0, -1) if outputs % size == 0)
        return outputs // size, size, size

    def turned(self, z: Tensor) -> Tensor:
        count, size, _ = self.blocks.shape
        turns = self.rotations().transpose(-1, -2).to(z.dtype)
        return torch.matmul(turns, z.reshape(z.shape[0], count, size, -1)).reshape(z.shape)
