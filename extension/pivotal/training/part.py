"""When and how fast a trainable learns."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from torch import nn

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
    limit: float | None = None  # minutes of the whole run, where it has a time limit

    @property
    def position(self) -> float:
        """How far the run is, in steps. A time limit counts as the run's length where it ends the run before its last step,
        so that schedules, spans and percents come to their end with it."""
        by_time = 0.0 if self.limit is None else self.of * self.minutes / self.limit
        return max(self.steps, min(by_time, self.of))

    @property
    def percent(self) -> float:
        return 100 * self.position / self.of

    @property
    def ended(self) -> bool:
        """Whether the run's last step is done, or its time is over."""
        return self.steps >= self.of or (self.limit is not None and self.minutes >= self.limit)


@dataclass(frozen=True)
class StopRule:
    """When to freeze: after `value` `unit`s of training; never when `value` is None."""

    value: float | None = None
    unit: StopUnit = "never"

    def reached(self, clock: Clock) -> bool:
        """Whether so much training is enough."""
        return self.value is not None and self.unit != "never" and getattr(clock, self.unit) >= self.value


@dataclass(frozen=True, eq=False)  # itself alone: a run of many asks in each step which of them are among those that learn
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

    @cached_property
    def parameters(self) -> tuple[nn.Parameter, ...]:
        """Those of the trainable, looked up once: a network's hundreds of modules are slow to walk in each step."""
        return tuple(self.trainable.parameters())

    def may_learn(self, clock: Clock) -> bool:
        """Whether the next step may change it."""
        ended = self.last is not None and clock.position >= self.last
        return self.learns and clock.position >= self.first and not ended and not self.stop.reached(clock)

    def over(self, clock: Clock) -> bool:
        """Whether no later step will change it either."""
        return not self.may_learn(clock) and clock.position >= self.first

    def rate_at(self, clock: Clock) -> float:
        """The learning rate of the next step: its own, after the schedule over its own span."""
        last = clock.of if self.last is None else min(self.last, clock.of)
        return self.schedule.rate(self.rate, max(clock.position - self.first, 0), max(last - self.first, 1))
