"""The order in which images are seen: a pure function of the seed, so that resuming needs only a count."""

from __future__ import annotations

import random
from functools import lru_cache


class Order:
    """An endless sequence of image indices in which each epoch has every image once, shuffled anew.

    Args:
        count: number of images, at least 1.
    """

    def __init__(self, count: int, seed: int):
        self.count = count
        self._epoch = lru_cache(maxsize=2)(lambda epoch: _shuffled(count, seed, epoch))

    def at(self, position: int, size: int) -> list[tuple[int, int]]:
        """(image, epoch) for positions `position` .. `position + size`; a batch may span two epochs, so no image is
        ever left out."""
        places = range(position, position + size)
        return [(self._epoch(place // self.count)[place % self.count], place // self.count) for place in places]


def _shuffled(count: int, seed: int, epoch: int) -> list[int]:
    indices = list(range(count))
    random.Random(f"{seed}/order/{epoch}").shuffle(indices)
    return indices
