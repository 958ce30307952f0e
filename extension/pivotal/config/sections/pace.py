"""How a learning rate changes over a run, and when a part of it stops; what sections of a run share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pivotal.config.options import option

# Adafactor's relative step takes the place of all rates and schedules of the run.
RELATIVE = ("optimizer.relative_step", (True,), "Adafactor takes its relative step, whatever stands here.")

StopUnit = Literal["never", "steps", "epochs", "percent", "images", "minutes"]
ScheduleKind = Literal["constant", "linear", "cosine", "cosine with restarts", "cosine wave", "polynomial", "rex",
                       "inverse square root", "rate list", "points", "formula"]
OwnSchedule = Literal["as the run", "constant", "linear", "cosine", "cosine with restarts", "cosine wave", "polynomial", "rex",
                      "inverse square root", "rate list", "points", "formula"]


@dataclass(frozen=True)
class Schedule:
    """How the learning rates change from the first step to the last; a part that begins later begins its own."""

    kind: ScheduleKind = option("constant", "Course of the learning rate; restarts are sudden, a wave rises again smoothly.",
                                label="Schedule", ss="ss_lr_scheduler", void_when=(RELATIVE,))
    warmup: float = option(0.0, "Raises the rate from zero at first: below 1 a fraction of the steps, else steps.", ge=0,
                           le=10_000_000, label="Warm-up", ss="ss_lr_warmup_steps", void_when=(RELATIVE,))
    minimum: float = option(0.0, "Lowest factor: the rate never falls below this share of itself.", ge=0, le=1,
                            void_when=(RELATIVE,))
    cycles: float = option(1.0, "Number of restarts or waves, the first included.", above=0, le=1000)
    power: float = option(1.0, "Exponent of the polynomial; 1 is a line.", above=0, le=100)
    rates: str = option("", "For a rate list: rates, each up to a step, in place of learning rates, such as 0.005:100, "
                            "0.001:1000, 1e-5. After the last step nothing is learned.", label="Rate list")
    points: str = option("", "For points: places in steps or percent and the factor there, with lines between, such as 0:0, "
                             "10%:1, 100%:0.1.")
    formula: str = option(
        "", "For a formula: the factor as arithmetic in p (0 to 1), step and steps, such as (1 + cos(pi * p)) / 2.")
