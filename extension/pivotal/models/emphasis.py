"""What brackets do to a text encoder's output: (words:1.2) is heard more, [words] less."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pivotal.models.devices import sent
from pivotal.prompts.chunks import CHUNK, Chunk


def with_emphasis(hidden: Tensor, chunks: Sequence[Chunk]) -> Tensor:
    """`hidden` (chunks, 77, width) after the weights of its chunks; itself where all of them are 1.

    A1111's "Original" (modules/sd_emphasis.py of 1.10): each token's output is multiplied by its weight, then each chunk is
    scaled back to the mean it had.
    """
    if all(weight == 1 for chunk in chunks for weight in chunk.weights):
        return hidden
    return emphasised(hidden, sent(torch.stack([chunk_weights(chunk) for chunk in chunks]), hidden.device).to(hidden.dtype))


def chunk_weights(chunk: Chunk) -> Tensor:
    """(77,) a weight for begin, each token, end and padding."""
    weights = torch.ones(CHUNK + 2)
    weights[1 : 1 + len(chunk.weights)] = torch.tensor(chunk.weights)
    return weights


def emphasised(hidden: Tensor, weights: Tensor) -> Tensor:
    """`hidden` (chunks, 77, width) times `weights` (chunks, 77), each chunk scaled back to its mean."""
    weighted = hidden * weights[..., None]
    before, after = (values.float().mean(dim=(1, 2), keepdim=True) for values in (hidden, weighted))
    # A1111 divides by zero here when a text encoder's last norm was never trained.
    ratio = torch.where(after == 0, torch.ones_like(after), before / after)
    return weighted * ratio.to(hidden.dtype)
