"""Averages of what is trained, over the steps: smoother than the last step's values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from pivotal.training.part import Part


def decay_of(decay: float | None, half_life: float | None, images_per_step: int) -> float | None:
    """The decay for each update; None when no average is kept.

    Args:
        decay: as it is given.
        half_life: in its place, images after which what was counts half: 0.5 ** (images per step / half-life).
    """
    return decay if half_life is None else 0.5 ** (images_per_step / half_life)


class Averages:
    """An exponential average for each parameter of each part, fp32, on its device or on the CPU.

    After a part's n-th update the average moves by 1 - min(decay, (1 + n) / (10 + n)) of the way to its values, so that a
    short run is not left with its beginning (OneTrainer's rule, n being each part's own count of updates: one that begins
    late begins its average anew). A part that rests keeps its average.
    """

    def __init__(self, parts: Sequence[Part], decay: float, *, on_cpu: bool = False):
        self._parts, self._decay = tuple(parts), decay
        self._updates = [0 for _ in self._parts]
        place = {"device": "cpu"} if on_cpu else {}
        self._values = [[value.detach().to(**place, dtype=torch.float32, copy=True) for value in part.trainable.parameters()]
                        for part in self._parts]

    @torch.no_grad()
    def update(self, learning: Sequence[Part]) -> None:
        """Takes in the values of the parts that have just learned."""
        for index, part in enumerate(self._parts):
            if part in learning:
                self._updates[index] += 1
                count = self._updates[index]
                way = 1 - min(self._decay, (1 + count) / (10 + count))
                averages = self._values[index]
                values = [value.to(average) for average, value in zip(averages, part.trainable.parameters(), strict=True)]
                torch._foreach_lerp_(averages, values, way)  # a few kernels on a graphics card, not one for each

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """While it lasts, the parts have their averages, brought to the lengths that they keep after a step."""
        with torch.no_grad():
            kept = [[value.clone() for value in part.trainable.parameters()] for part in self._parts]
            self._put(self._values)
            for part, updates in zip(self._parts, self._updates, strict=True):
                if updates:
                    part.trainable.after_step()
        try:
            yield
        finally:
            with torch.no_grad():
                self._put(kept)

    def _put(self, values: Sequence[Sequence[Tensor]]) -> None:
        for part, tensors in zip(self._parts, values, strict=True):
            for parameter, tensor in zip(part.trainable.parameters(), tensors, strict=True):
                parameter.copy_(tensor)

    def state(self) -> tuple[list[int], dict[str, Tensor]]:
        """Counts, and tensors named ``average.<part>.<parameter>``."""
        return list(self._updates), {f"average.{index}.{place}": value.cpu().clone() for index, values in
                                     enumerate(self._values) for place, value in enumerate(values)}

    def restore(self, updates: Sequence[int], tensors: Mapping[str, Tensor]) -> None:
        """Takes back what `state` gave."""
        self._updates = list(updates)
        for index, values in enumerate(self._values):
            for place, value in enumerate(values):
                value.copy_(tensors[f"average.{index}.{place}"])
