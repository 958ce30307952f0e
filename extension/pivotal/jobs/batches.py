"""Joins latents, captions and tokens to what the loop is fed with."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from torch import Tensor

from pivotal.config.sections.caption import Caption
from pivotal.data.captions import Captions, longest_in_chunks
from pivotal.data.latent_cache import Disk
from pivotal.data.latents import ImageStore, Loaded
from pivotal.data.order import Order, Place
from pivotal.data.prefetch import Prefetch
from pivotal.prompts.chunks import COMMA_BACKTRACK, TokenizedPrompt, tokenize_caption
from pivotal.training.batch import Batch
from pivotal.training.seeds import generator

AHEAD = 2  # batches whose files are read while the device is busy


class DatasetBatches:
    """A `training.batch.Batches` over the images of a dataset; `close` ends the thread that reads ahead.

    Args:
        placeholders: placeholder -> number of vectors.
        rules: the run's, of which those for tokens count here.
        comma_backtrack: the host's (prompts/layout.py).
    """

    def __init__(self, store: ImageStore, captions: Captions, order: Order, *, seed: int, tokenizer: Any,
                 placeholders: Mapping[str, int], rules: Caption, comma_backtrack: int = COMMA_BACKTRACK):
        self.images = order.images
        self.size = order.size
        self._store, self._captions, self._order, self._seed = store, captions, order, seed
        self._ranks, self._counts = ranks_of([view.item for view in store.views])
        self._weights = _unless_all([concept.weight for concept in captions.concepts], 1.0)
        self._priors = _unless_all([concept.prior for concept in captions.concepts], False)
        self._loaded: Prefetch[tuple[tuple[int, int], ...], Loaded] = Prefetch(store.load)
        longest = longest_in_chunks(rules)
        self._tokenize = lru_cache(maxsize=100_000)(
            lambda text: tokenize_caption(text, tokenizer, placeholders, emphasis=rules.weighted, longest=longest,
                                          comma_backtrack=comma_backtrack))

    def at(self, position: int) -> Batch:
        """The batch after `position` images."""
        places = self._order.at(position)
        # The order is asked in this thread only: it remembers where it was.
        ahead = [self._order.at(position + self.size * step) for step in range(1, AHEAD + 1)]
        loaded = self._store.encoded(self._loaded.get(_seen(places), map(_seen, ahead)))
        latents = self._store.latents(loaded, generator(self._seed, "posterior", position))
        items = [self._store.views[place.view].item for place in places]
        prompts = [self._prompt(item, place) for item, place in zip(items, places, strict=True)]
        return Batch(latents, prompts, loaded.size_ids, loaded.inpainting, loaded.masks, self._of_concepts(self._weights, items),
                     self._of_concepts(self._priors, items), items)

    def kept_files(self) -> set[Path]:
        """Files of the cache on disk that hold its images."""
        return self._store.shelf.files() if isinstance(self._store.shelf, Disk) else set()

    def close(self) -> None:
        """Reads no further ahead."""
        self._loaded.close()

    def __enter__(self) -> DatasetBatches:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _prompt(self, item: int, place: Place) -> TokenizedPrompt:
        # An image with several views is seen by each in turn; every one of these times gets words of its own.
        time = place.time * self._counts[item] + self._ranks[place.view]
        return self._tokenize(self._captions.text(item, place.epoch, time))

    def _of_concepts(self, values: Tensor | None, items: Sequence[int]) -> Tensor | None:
        return None if values is None else values[[self._captions.items[item].concept for item in items]]


def _seen(places: Sequence[Place]) -> tuple[tuple[int, int], ...]:
    return tuple((place.view, place.time) for place in places)


def ranks_of(items: Sequence[int]) -> tuple[list[int], Counter[int]]:
    """For each view, which of its image's views it is; for each image, how many it has."""
    counts: Counter[int] = Counter()
    ranks = []
    for item in items:
        ranks.append(counts[item])
        counts[item] += 1
    return ranks, counts


def _unless_all(values: Sequence[float | bool], usual: float | bool) -> Tensor | None:
    """`values` by concept; None where all are `usual`."""
    return None if all(value == usual for value in values) else torch.tensor(values)
