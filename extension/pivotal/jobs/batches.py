"""Joins latents, captions and tokens to what the loop is fed with."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import torch

from pivotal.data.captions import Captions
from pivotal.data.inpainting import Inpainting
from pivotal.data.latents import Latents
from pivotal.data.order import Order
from pivotal.models.diffusion import SizeIds
from pivotal.prompts.chunks import TokenizedPrompt, tokenize_caption
from pivotal.training.batch import Batch
from pivotal.training.seeds import generator


class FolderBatches:
    """A `training.batch.Batches` over a folder of images of one size.

    Args:
        size: images in a batch; may be more than there are images.
        side: px, what the images were cropped to.
        placeholders: placeholder -> number of vectors.
        inpainting: masks and what they leave, for UNets that take them.
    """

    def __init__(self, latents: Latents, captions: Captions, *, size: int, side: int, seed: int, tokenizer: Any,
                 placeholders: Mapping[str, int], inpainting: Inpainting | None = None):
        self.images = len(latents.crops)
        self.size = size
        self._latents, self._captions, self._side, self._seed = latents, captions, side, seed
        self._inpainting = inpainting
        self._order = Order(self.images, seed)
        self._tokenize = lru_cache(maxsize=100_000)(
            lambda text: tokenize_caption(text, tokenizer, placeholders))

    def at(self, position: int) -> Batch:
        """The batch after `position` images."""
        places = self._order.at(position, self.size)
        indices = [index for index, _ in places]
        latents = self._latents.draw(indices, generator(self._seed, "posterior", position))
        prompts: list[TokenizedPrompt] = [self._tokenize(self._captions.text(index, epoch)) for index, epoch in places]
        crops = [self._latents.crops[index] for index in indices]
        rows = [SizeIds(crop.original, crop.offset, (self._side, self._side)).row() for crop in crops]
        masked = None if self._inpainting is None else self._inpainting.at(places)
        return Batch(latents, prompts, torch.tensor(rows, dtype=torch.float32), masked)
