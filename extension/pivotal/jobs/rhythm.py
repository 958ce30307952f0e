"""How often something is done in a run, in whichever unit."""

from __future__ import annotations

import math
from dataclasses import dataclass

from pivotal.training.part import Clock

_NEARLY = 1e-9  # of an epoch or a minute: ten images of a hundred are a tenth of an epoch, whatever a float says


@dataclass(frozen=True)
class Rhythm:
    """Every so many steps, epochs or minutes of training; a unit at 0 or None does not count."""

    steps: int = 0
    epochs: float | None = None
    minutes: float | None = None

    @property
    def is_on(self) -> bool:
        """Whether it ever beats."""
        return bool(self.steps or self.epochs or self.minutes)

    def due(self, before: Clock, now: Clock) -> bool:
        """Whether a beat falls after `before`, up to and with `now`."""
        pairs = ((self.steps, before.steps, now.steps), (self.epochs, before.epochs, now.epochs),
                 (self.minutes, before.minutes, now.minutes))
        return any(_beats(now_at, every) > _beats(before_at, every) for every, before_at, now_at in pairs if every)


def _beats(at: float, every: float) -> int:
    return math.floor(at / every + _NEARLY)
