"""BOFT: several turns by orthogonal blocks, the outputs shuffled in between as in the fast Fourier transform, so that each
output meets many others (Liu et al. 2023, arXiv:2311.06243).

In files as LyCORIS has it: `oft_blocks` with four dimensions. The turns are as many as the number of blocks can be halved,
and one; for 320 outputs in blocks of 8 that is 40 = 8 x 5, so 4, and groups of 64 outputs meet.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from pivotal.networks.rotation import Rotation


class Boft(Rotation):
    """blocks (turns, outputs / size, size, size), the size being the largest power of two that divides, up to `rank`."""

    needed: ClassVar = ("oft_blocks",)

    @staticmethod
    def shape(outputs: int, rank: int) -> tuple[int, ...]:
        size = min(outputs & -outputs, 1 << (rank.bit_length() - 1))
        count = outputs // size
        return (count & -count).bit_length(), count, size, size

    def turned(self, z: Tensor) -> Tensor:
        turns = self.rotations().to(z.dtype)
        batch, outputs, places = z.shape
        size = self.blocks.shape[-1]
        change = torch.zeros_like(z)
        for number, turn in enumerate(turns):
            half = 2**number * size // 2
            shuffled = (batch, outputs // (2 * half), 2, half, places)
            now = (z + change).view(shuffled).transpose(2, 3).reshape(batch, -1, size, places)
            step = torch.matmul(turn, now).view(batch, outputs // (2 * half), half, 2, places)
            change = change + step.transpose(2, 3).reshape(z.shape)
        return change
