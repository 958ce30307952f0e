"""The step at which a run was best, by its measured error, and what was learned by then."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from pivotal.training.part import Part


class Best:
    """Lowest error so far, its step, its values (if `keeps`; on the CPU), and how many measurements ago that was."""

    def __init__(self, parts: Sequence[Part], keeps: bool):
        self._parts, self._keeps = tuple(parts), keeps
        self.error: float | None = None
        self.step = 0
        self.loss = 0.0  # smoothed, of the training at that step
        self.since = 0  # measurements after it
        self._values: list[list[Tensor]] | None = None

    def take(self, step: int, error: float, loss: float) -> bool:
        """Notes a measurement of the values that the parts have now; whether it is the lowest so far."""
        if math.isnan(error) or (self.error is not None and error >= self.error):
            self.since += 1
            return False
        self.error, self.step, self.loss, self.since = error, step, loss, 0
        if self._keeps:
            self._values = [[value.detach().to("cpu", copy=True) for value in part.trainable.parameters()]
                            for part in self._parts]
        return True

    @property
    def kept(self) -> bool:
        """Whether there are values to go back to."""
        return self._values is not None

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """While it lasts, the parts have the best step's values."""
        assert self._values is not None, "nothing was kept"
        now = [[value.detach().clone() for value in part.trainable.parameters()] for part in self._parts]
        self._put(self._values)
        try:
            yield
        finally:
            self._put(now)

    @torch.no_grad()
    def _put(self, values: Sequence[Sequence[Tensor]]) -> None:
        for part, tensors in zip(self._parts, values, strict=True):
            for parameter, tensor in zip(part.trainable.parameters(), tensors, strict=True):
                parameter.copy_(tensor)

    def state(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """Facts, and tensors named ``best.<part>.<parameter>``."""
        tensors = {f"best.{index}.{place}": value.clone() for index, values in enumerate(self._values or [])
                   for place, value in enumerate(values)}
        return {"error": self.error, "step": self.step, "loss": self.loss, "since": self.since}, tensors

    def restore(self, facts: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
        """Takes back what `state` gave."""
        self.error, self.step, self.loss, self.since = (facts[name] for name in ("error", "step", "loss", "since"))
        if self._keeps and any(key.startswith("best.") for key in tensors):
            self._values = [[tensors[f"best.{index}.{place}"] for place, _ in
                             enumerate(part.trainable.parameters())] for index, part in enumerate(self._parts)]
