"""The course of a learning rate: a factor for each step of a part's own span."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

REX_BEND = 0.9


@dataclass(frozen=True)
class Schedule:
    """A factor between `minimum` and 1 for each step.

    `kind` is one of DECAYS; "cosine with restarts" is the saw of diffusers and kohya, not OneTrainer's smooth wave.
    `warmup` below 1 is a fraction of the span, else steps. The first step already learns: factor 1 / warm-up steps.
    """

    kind: str = "constant"
    warmup: float = 0.0
    minimum: float = 0.0
    cycles: float = 1.0
    power: float = 1.0

    def factor(self, done: int, of: int) -> float:
        """The factor of the step that follows `done` (0..of-1) steps of a span of `of`."""
        warmup = min(round(self.warmup * of) if self.warmup < 1 else int(self.warmup), of)
        if done < warmup:
            rising = (done + 1) / warmup
            return self.minimum + (1 - self.minimum) * rising
        progress = min((done - warmup) / max(of - warmup, 1), 1.0)
        return self.minimum + (1 - self.minimum) * DECAYS[self.kind](progress, self)


def rex(progress: float) -> float:
    """(1 - p) / ((1 - d) + d (1 - p)) with d = 0.9 (Chen et al. 2021, arXiv:2107.04197; d after OneTrainer)."""
    return (1 - progress) / ((1 - REX_BEND) + REX_BEND * (1 - progress))


DECAYS: Mapping[str, Callable[[float, Schedule], float]] = {
    "constant": lambda _progress, _schedule: 1.0,
    "linear": lambda progress, _schedule: 1 - progress,
    "cosine": lambda progress, _schedule: 0.5 * (1 + math.cos(math.pi * progress)),
    "cosine with restarts": lambda progress, schedule: 0.5 * (1 + math.cos(math.pi * ((schedule.cycles * progress) % 1.0))),
    "polynomial": lambda progress, schedule: (1 - progress) ** schedule.power,
    "rex": lambda progress, _schedule: rex(progress),
}
