"""When and how fast a trainable learns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pivotal.training.schedules import Schedule
from pivotal.training.trainable import Trainable

StopUnit = Literal["never", "steps", "epochs", "percent", "images", "minutes"]


@dataclass(frozen=True)
class Clock:
    """How much training is done."""

    steps: int
    of: int  # steps of the whole run
    epochs: float
    images: int
    minutes: float  # spent in steps, over all sessions of a resumed run

    @property
    def percent(self) -> float:
        return 100 * self.steps / self.of


@dataclass(frozen=True)
class StopRule:
    """When to freeze: after `value` `unit`s of training; never when `value` is None."""

    value: float | None = None
    unit: StopUnit = "never"

    def reached(self, clock: Clock) -> bool:
        """Whether so much training is enough."""
        return self.value is not None and self.unit != "never" and getattr(clock, self.unit) >= self.value


@dataclass(frozen=True)
class Part:
    """One trainable of a run: its learning rate, and the span of steps in which it learns."""

    trainable: Trainable
    rate: float
    learns: bool = True  # False: used in captions and prompts, left as it is
    first: int = 0  # step after which it begins
    last: int | None = None  # step after which it ends; None: the run's end
    stop: StopRule = StopRule()
    schedule: Schedule = Schedule()
    decays: bool = True  # whether weight decay pulls at it

    @property
    def name(self) -> str:
        return self.trainable.name

    def may_learn(self, clock: Clock) -> bool:
        """Whether the next step may change it."""
        ended = self.last is not None and clock.steps >= self.last
        return self.learns and clock.steps >= self.first and not ended and not self.stop.reached(clock)

    def over(self, clock: Clock) -> bool:
        """Whether no later step will change it either."""
        return not self.may_learn(clock) and clock.steps >= self.first

    def rate_at(self, clock: Clock) -> float:
        """The learning rate of the next step: its own, after the schedule over its own span."""
        last = clock.of if self.last is None else min(self.last, clock.of)
        return self.rate * self.schedule.factor(max(clock.steps - self.first, 0), max(last - self.first, 1))
