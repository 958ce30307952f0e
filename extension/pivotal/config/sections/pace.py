"""How a learning rate changes over a run, and when a part of it stops; what sections of a run share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pivotal.config.options import option

StopUnit = Literal["never", "steps", "epochs", "percent", "images", "minutes"]
ScheduleKind = Literal["constant", "linear", "cosine", "cosine with restarts", "polynomial", "rex"]
OwnSchedule = Literal["as the run", "constant", "linear", "cosine", "cosine with restarts", "polynomial", "rex"]


@dataclass(frozen=True)
class Schedule:
    """How the learning rates change from the first step to the last; a part that begins later begins its own."""

    kind: ScheduleKind = option("constant", "Course of the learning rate.", label="Schedule", ss="ss_lr_scheduler")
    warmup: float = option(0.0, "Raises the rate from zero at first: below 1 a fraction of the steps, else steps.", ge=0,
                           le=10_000_000, ss="ss_lr_warmup_steps")
    minimum: float = option(0.0, "Lowest factor: the rate never falls below this share of itself.", ge=0, le=1)
    cycles: float = option(1.0, "Number of restarts, the first included.", above=0, le=1000,
                           shown_when=("schedule.kind", ("cosine with restarts",)))
    power: float = option(1.0, "Exponent of the polynomial; 1 is a line.", above=0, le=100,
                          shown_when=("schedule.kind", ("polynomial",)))
