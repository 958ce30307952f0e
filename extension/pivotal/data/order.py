"""The order in which views of images are seen: a pure function of the seed, so that resuming needs only a count."""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import lru_cache
from threading import Lock
from typing import Literal, NamedTuple

import numpy as np

from pivotal.data.view import Size, View

Incomplete = Literal["carry over", "fill"]
_ROUNDING = 1e-9  # 0.7 + 3 x 0.1 is 1, whatever floats say


class Place(NamedTuple):
    """One image of a batch."""

    view: int  # index among the views
    epoch: int
    time: int  # how often this view was seen before


class Order:
    """An endless sequence of batches, each of views of one size, in which each view comes as often as its rate says.

    Every size has an endless stream of its own: epoch after epoch the views that are due, shuffled anew. A batch takes
    the next `size` of one stream, so batches are full, nothing is dropped, and what an epoch leaves begins the next one.
    A size that has less than a batch of images comes in the first epoch all the same, and then as seldom as is its due.

    Args:
        size: images in a batch, at least 1.
        incomplete: what becomes of the images that an epoch leaves of a size: "carry over" as above; "fill" gives each
            epoch batches of its own, the last of a size filled up with images of that size that it had already.
    """

    def __init__(self, views: Sequence[View], size: int, seed: int, incomplete: Incomplete = "carry over"):
        self.size = size
        self._seed, self._fills = seed, incomplete == "fill"
        members: dict[Size, list[int]] = {}
        for index, view in enumerate(views):
            members.setdefault(view.fit.size, []).append(index)
        self._streams = [_Stream(members[bucket], views, seed, "" if len(members) == 1 else f"/{bucket[0]}x{bucket[1]}")
                         for bucket in sorted(members)]
        self._rate = sum(stream.rate for stream in self._streams)
        self._batches = lru_cache(maxsize=2)(self._batches_of)
        self._batches_before = lru_cache(maxsize=256)(self._count_before)
        self._filled = [0]  # batches before each epoch, as far as they were asked for
        self._lock = Lock()  # the next batches are asked for by the thread that reads ahead
        self._last = 0  # the epoch that was asked for last

    @property
    def images(self) -> float:
        """In an epoch, on average."""
        if self._fills:
            return float(sum(_ceil(round(stream.rate, 9), self.size) for stream in self._streams) * self.size)
        return round(self._rate, 9)  # so that two epochs of 40 tenths are 8 images, and not a little more

    def at(self, position: int) -> list[Place]:
        """The batch after `position` images, which must be whole batches."""
        if position % self.size:
            raise ValueError(f"{position} images are no whole batches of {self.size}")
        with self._lock:
            return self._at(position // self.size)

    def _at(self, batch: int) -> list[Place]:
        epoch = self._epoch_of(batch)
        stream, number = self._batches(epoch)[batch - self._batches_before(epoch)]
        if self._fills:
            shuffled = self._streams[stream].epoch(epoch)
            begin = number * self.size
            return [shuffled[place % len(shuffled)] for place in range(begin, begin + self.size)]
        return self._streams[stream].at(number * self.size, self.size)

    def _epoch_of(self, batch: int) -> int:
        """The epoch that `batch` belongs to: the first that ends behind it."""
        if self._batches_before(self._last) <= batch < self._batches_before(self._last + 1):
            return self._last
        low, high = 0, 1
        while self._batches_before(high) <= batch:
            low, high = high, high * 2
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self._batches_before(middle) <= batch else (low, middle)
        self._last = low
        return low

    def _count_before(self, epoch: int) -> int:
        """Batches of all epochs before `epoch`."""
        if self._fills:
            while len(self._filled) <= epoch:
                self._filled.append(self._filled[-1] + len(self._batches_of(len(self._filled) - 1)))
            return self._filled[epoch]
        return sum(_ceil(stream.before(epoch), self.size) for stream in self._streams)

    def _batches_of(self, epoch: int) -> list[tuple[int, int]]:
        """The batches of `epoch` in their order: (stream, number of the batch in the stream, or with "fill" in the epoch)."""
        firsts, counts = [], []
        for stream in self._streams:
            begin, end = stream.before(epoch), stream.before(epoch + 1)
            firsts.append(0 if self._fills else _ceil(begin, self.size))
            counts.append(_ceil(end - begin, self.size) if self._fills else _ceil(end, self.size) - firsts[-1])
        labels = [stream for stream, count in enumerate(counts) for _ in range(count)]
        if len(self._streams) > 1:
            random.Random(f"{self._seed}/buckets/{epoch}").shuffle(labels)
        batches = []
        for label in labels:
            batches.append((label, firsts[label]))
            firsts[label] += 1
        return batches


class _Stream:
    """The endless sequence of the views of one size."""

    def __init__(self, members: Sequence[int], views: Sequence[View], seed: int, mark: str):
        self._members = np.array(members)
        self._rates = np.array([views[index].rate for index in members])
        self._phases = np.array([views[index].phase for index in members])
        self.rate = float(self._rates.sum())
        whole = self._rates == np.floor(self._rates)
        self.is_even = bool(whole.all())  # each epoch is as long as any other
        self._seed, self._mark = seed, mark
        self.before = lru_cache(maxsize=64)(self._count_before)
        self.epoch = lru_cache(maxsize=2)(self._shuffled)

    def at(self, position: int, count: int) -> list[Place]:
        """The views at `position` .. `position + count`."""
        epoch = self._epoch_of(position)
        found: list[Place] = []
        while len(found) < count:
            begin = position + len(found) - self.before(epoch)
            found += self.epoch(epoch)[begin : begin + count - len(found)]
            epoch += 1
        return found

    def _epoch_of(self, position: int) -> int:
        low = max(0, int((position - len(self._members)) / self.rate) - 1)
        high = int((position + len(self._members)) / self.rate) + 2
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self.before(middle) <= position else (low, middle)
        return low

    def _times(self, epoch: int) -> np.ndarray:
        """How often each was seen before `epoch`."""
        return np.floor(epoch * self._rates + self._phases + _ROUNDING).astype(np.int64)

    def _count_before(self, epoch: int) -> int:
        return epoch * int(self.rate) if self.is_even else int(self._times(epoch).sum())

    def _shuffled(self, epoch: int) -> list[Place]:
        begin = self._times(epoch)
        due = np.repeat(np.arange(len(begin)), self._times(epoch + 1) - begin).tolist()
        random.Random(f"{self._seed}/order/{epoch}{self._mark}").shuffle(due)
        times, members, places = begin.tolist(), self._members.tolist(), []
        for member in due:
            places.append(Place(members[member], epoch, times[member]))
            times[member] += 1
        return places


def _ceil(count: float, size: int) -> int:
    return int(-(-count // size))
