"""BOFT: several turns by orthogonal blocks, the outputs shuffled in between as in the fast Fourier transform, so that each
output meets many others (Liu et al. 2023, arXiv:2311.06243).

In files as LyCORIS has it: `oft_blocks` with four dimensions. The turns are as many as the number of blocks can be halved,
and one; for 320 outputs in blocks of 8 that is 40 = 8 x 5, so 4, and groups of 64 outputs meet.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

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
        if not torch.is_grad_enabled():
            return _turned(z, self.rotations())
        # Every turn would keep a copy of the outputs for the way back; so they are turned again there.
        return checkpoint(_turned, z, self.rotations(), use_reentrant=False, preserve_rng_state=False)


def _turned(z: Tensor, turns: Tensor) -> Tensor:
    """One turn after the other; the change is summed up apart from what is changed."""
    batch, _, places = z.shape
    size = turns.shape[-1]
    change = torch.zeros_like(z)
    for number, turn in enumerate(turns.to(z.dtype)):
        half = 2**number * size // 2
        now = (z + change).view(batch, -1, 2, half, places).transpose(2, 3).reshape(batch, -1, size, places)
        step = torch.matmul(turn, now).view(batch, -1, half, 2, places)
        change = change + step.transpose(2, 3).reshape(z.shape)
    return change
