"""Where trained vectors stand among an encoder's own tokens."""

from __future__ import annotations

import torch
from torch import Tensor

TOKENS = 49406  # of CLIP's vocabulary that are words; the two behind them are its marks, and hosts may add rows of their own
_ROWS = 8192  # compared at once: the whole table in fp32 would take 150 MB more
_SHORTEST = 1e-12  # a row of zeros points nowhere: its cosine is 0


@torch.no_grad()
def nearest_tokens(vectors: Tensor, table: Tensor, norms: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The `count` tokens whose rows of `table` (vocabulary, width) point most nearly where each of `vectors` (n, width) does.

    Args:
        norms: (vocabulary,) the rows' lengths. They never change, and finding them takes longer than all the rest.

    Returns: cosines, nearest first, and ids, both (n, count), on the CPU.
    """
    wanted = torch.nn.functional.normalize(vectors.detach().float().to(table.device), dim=1)
    best = torch.full((len(vectors), 0), 0.0, device=table.device)
    ids = best.long()
    for first in range(0, min(len(table), TOKENS), _ROWS):
        these = slice(first, min(first + _ROWS, TOKENS))
        rows = table[these].float()
        cosines = (rows @ wanted.T).T / norms[these].clamp_min(_SHORTEST)  # in this order it takes half the time
        found = cosines.topk(min(count, len(rows)), dim=1)
        best, order = torch.cat([best, found.values], dim=1).topk(min(count, best.shape[1] + found.values.shape[1]), dim=1)
        ids = torch.cat([ids, found.indices + first], dim=1).gather(1, order)
    return best.cpu(), ids.cpu()


def drift(now: Tensor, start: Tensor) -> Tensor:
    """(n,) 1 - cosine of the angle between the rows of two (n, width) tensors: 0 is the same direction, 2 the opposite."""
    now, start = now.detach().cpu().double(), start.detach().cpu().double()  # Apple's devices have no fp64
    return 1 - torch.nn.functional.cosine_similarity(now, start, dim=1, eps=1e-12)
