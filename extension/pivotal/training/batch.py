"""What the loop is fed with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from pivotal.prompts.chunks import TokenizedPrompt


@dataclass(frozen=True)
class Batch:
    """Images of one size with their captions."""

    latents: Tensor  # (B, 4, h, w) fp32, CPU
    prompts: Sequence[TokenizedPrompt]  # B
    size_ids: Tensor  # (B, 6) px: original height, width, crop top, left, target height, width
    inpainting: Tensor | None = None  # (B, 5, h, w): mask, latents of the masked image; for UNets that take them
    masks: Tensor | None = None  # (B, 1, h, w), 0..1: how much of each place's error counts; None: all of it
    weights: Tensor | None = None  # (B,) of each image's loss; None: 1
    prior: Tensor | None = None  # (B,) bool: shall be what the model answers without what is trained; None: none
    items: Sequence[int] = ()  # B, which image of the dataset each is


class Batches(Protocol):
    """An endless, repeatable source of batches."""

    images: float  # in an epoch, on average; repeats counted
    size: int  # images in a batch

    def at(self, position: int) -> Batch:
        """The batch that begins after `position` images; the same each time it is asked for."""
