"""The course of a learning rate: a factor for each step of a part's own span."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pivotal.config.courses import Points, RateList
from pivotal.config.formula import Formula

REX_BEND = 0.9
TIMESCALE = 10_000  # of the inverse square root without warm-up (transformers, optimization.py)


@dataclass(frozen=True)
class Schedule:
    """A factor for each step: between `minimum` and 1, but for points and formulas, which may rise higher.

    `kind` is one of DECAYS, "points", "formula" or "rate list". "cosine with restarts" is the saw of diffusers and kohya,
    "cosine wave" what OneTrainer calls cosine with restarts. `warmup` below 1 is a fraction of the span, else steps. The
    first step already learns: factor 1 / warm-up steps.
    """

    kind: str = "constant"
    warmup: float = 0.0
    minimum: float = 0.0
    cycles: float = 1.0
    power: float = 1.0
    rates: RateList | None = None  # in place of a part's own rate
    points: Points | None = None
    formula: Formula | None = None

    def rate(self, own: float, done: float, of: int) -> float:
        """The learning rate of the step that follows `done` steps of a span of `of`, for a part whose own is `own`."""
        return (own if self.rates is None else self.rates.at(int(done))) * self.factor(done, of)

    def factor(self, done: float, of: int) -> float:
        """The factor of the step that follows `done` (0..of-1) steps of a span of `of`."""
        warmup = min(round(self.warmup * of) if self.warmup < 1 else int(self.warmup), of)
        if done < warmup:
            rising = (done + 1) / warmup
            return self.minimum + (1 - self.minimum) * min(rising, 1.0)
        return self.minimum + (1 - self.minimum) * self._after(done, of, warmup)

    def _after(self, done: float, of: int, warmup: int) -> float:
        if self.points is not None:
            return self.points.at(done, of)
        if self.formula is not None:
            return self.formula.at(min(done, of), of)
        if self.kind == "inverse square root":
            # Continuous with the warm-up: 1 at its end (transformers' get_inverse_sqrt_schedule).
            scale = warmup or TIMESCALE
            return math.sqrt(scale / (done - warmup + scale))
        return DECAYS[self.kind](min((done - warmup) / max(of - warmup, 1), 1.0), self)


def rex(progress: float) -> float:
    """(1 - p) / ((1 - d) + d (1 - p)) with d = 0.9 (Chen et al. 2021, arXiv:2107.04197; d after OneTrainer)."""
    return (1 - progress) / ((1 - REX_BEND) + REX_BEND * (1 - progress))


DECAYS: Mapping[str, Callable[[float, Schedule], float]] = {
    "constant": lambda _progress, _schedule: 1.0,
    "rate list": lambda _progress, _schedule: 1.0,
    "linear": lambda progress, _schedule: 1 - progress,
    "cosine": lambda progress, _schedule: 0.5 * (1 + math.cos(math.pi * progress)),
    "cosine with restarts": lambda progress, schedule: 0.5 * (1 + math.cos(math.pi * ((schedule.cycles * progress) % 1.0))),
    "cosine wave": lambda progress, schedule: 0.5 * (1 + math.cos(2 * math.pi * schedule.cycles * progress)),
    "polynomial": lambda progress, schedule: (1 - progress) ** schedule.power,
    "rex": lambda progress, _schedule: rex(progress),
}
