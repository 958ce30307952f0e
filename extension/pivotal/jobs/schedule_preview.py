"""The courses of a run's learning rates, before it is started."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pivotal.config.length import total_steps
from pivotal.config.optimizers import FINDS_ITS_RATE
from pivotal.config.train import TrainConfig
from pivotal.jobs.trainees import schedule_of, span_of
from pivotal.training.schedules import Schedule

POINTS = 240  # of a curve


@dataclass(frozen=True)
class Course:
    """What one part's rate does."""

    name: str  # placeholder, or part of the model
    points: tuple[tuple[int, float], ...]  # (steps done, rate of the next one), rising; 0 where it rests

    @property
    def peak(self) -> float:
        """Its highest rate."""
        return max(rate for _, rate in self.points)


@dataclass(frozen=True)
class Courses:
    """All parts' rates over a run."""

    steps: int
    is_exact: bool  # False: the run's steps depend on images that were not counted
    finds_rates: bool  # the optimizer multiplies them by what it finds
    courses: tuple[Course, ...]


def courses(config: TrainConfig) -> Courses:
    """The rates that `config`, which must be without problems, gives to what it trains."""
    steps = config.length.steps if config.length.epochs is not None else total_steps(config, 0)
    fixed = config.optimizer.kind == "adafactor" and config.optimizer.relative_step
    found = [] if fixed else [Course(name, _points(rate, schedule, span, steps)) for name, rate, schedule, span in _parts(config)]
    return Courses(steps, config.length.epochs is None, config.optimizer.kind in FINDS_ITS_RATE, tuple(found))


def _parts(config: TrainConfig) -> Iterator[tuple[str, float, Schedule, tuple[int, int | None]]]:
    for row in config.embeddings:
        if row.train:
            rate = config.optimizer.learning_rate if row.learning_rate is None else row.learning_rate
            yield (row.placeholder, rate, schedule_of(config.schedule, row.schedule, row.rates),
                   span_of(config, "embeddings first"))
    targets = config.targets
    if config.network.method != "none":
        for name, on, rate in (("UNet", targets.unet, targets.learning_rate),
                               ("text encoder 1", targets.text_encoder_1, targets.text_encoder_1_rate),
                               ("text encoder 2", targets.text_encoder_2, targets.text_encoder_2_rate)):
            if on:
                yield name, rate, schedule_of(config.schedule, targets.schedule, targets.rates), span_of(config, "network first")


def _points(rate: float, schedule: Schedule, span: tuple[int, int | None], steps: int) -> tuple[tuple[int, float], ...]:
    first, last = span[0], min(steps if span[1] is None else span[1], steps)
    places = sorted({round(index * (steps - 1) / POINTS) for index in range(POINTS + 1)})
    return tuple((step, schedule.rate(rate, step - first, max(last - first, 1)) if first <= step < last else 0.0)
                 for step in places)
