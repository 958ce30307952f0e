"""A run's numbers for other programs: a table, TensorBoard, Weights & Biases; each a listener to its events."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from pivotal.config.sections.logs import Logs
from pivotal.config.train import TrainConfig
from pivotal.errors import LogError
from pivotal.events import Emit, Event, Measured, Noticed, Sampled, StepDone
from pivotal.formats.event_file import EventFile
from pivotal.jobs.logs.numbers import numbers, sample_title
from pivotal.jobs.logs.wandb_log import WandbLog
from pivotal.jobs.paths import RunPaths


class Log(Protocol):
    """Writes events somewhere.

    Raises, from all its methods:
        OSError, LogError: it cannot; it is told once, and this log ends.
    """

    name: str

    def write(self, event: Event) -> None:
        """Takes what it needs of `event`."""

    def close(self) -> None:
        """Writes what is left."""


def log_problems(options: Logs) -> dict[str, str]:
    """What can be known to be wrong before a run, by key."""
    if options.wandb.strip() and find_spec("wandb") is None:
        return {"logs.wandb": "needs the package wandb, which is not installed; run `pip install wandb` in the WebUI's Python "
                              "environment, or leave this empty"}
    return {}


@contextmanager
def logs(config: TrainConfig, paths: RunPaths, emit: Emit, *, resumed: bool) -> Iterator[Emit]:
    """An `emit` that also feeds the logs that `config` asks for; one that fails is told once and is left out.

    Args:
        resumed: whether they go on; else they begin anew.
    """
    running = list(_opened(config, paths, emit, resumed))

    def fed(event: Event) -> None:
        emit(event)
        for log in list(running):
            try:
                log.write(event)
            except (OSError, LogError) as error:
                running.remove(log)
                with suppress(OSError, LogError):  # of the same trouble, which is told once
                    log.close()
                _tell(log.name, error, emit)

    try:
        yield fed
    finally:
        for log in running:
            try:
                log.close()
            except (OSError, LogError) as error:
                _tell(log.name, error, emit)


def _opened(config: TrainConfig, paths: RunPaths, emit: Emit, resumed: bool) -> Iterator[Log]:
    options, project = config.logs, config.logs.wandb.strip()
    makers: list[tuple[str, bool, Callable[[], Log]]] = [
        (CsvLog.name, options.csv, lambda: CsvLog(paths.steps, resumed)),
        (TensorBoardLog.name, options.tensorboard, lambda: TensorBoardLog(paths.tensorboard, resumed)),
        (WandbLog.name, bool(project), lambda: WandbLog(project, config, paths.folder, resumed))]
    for name, is_wanted, make in makers:
        if is_wanted:
            try:
                yield make()
            except (OSError, LogError) as error:
                _tell(name, error, emit)


def _tell(name: str, error: Exception, emit: Emit) -> None:
    emit(Noticed(f"{name} is not written any more: {error}. The run goes on."))


class CsvLog:
    """One line a step: loss, smoothed loss, seconds, images seen, the measured error where there is one, then the rates.

    A resumed run goes on below; steps that it takes again stand there twice.
    """

    name = "steps.csv"

    def __init__(self, path: Path, resumed: bool):
        self._is_new = not (resumed and path.is_file())
        self._file = path.open("w" if self._is_new else "a", encoding="utf-8", newline="")
        self._writer = csv.writer(self._file, lineterminator="\n")
        self._rates: Sequence[str] | None = None
        self._waiting: list[Any] | None = None  # the last step's line; its measurement comes after it

    def write(self, event: Event) -> None:
        if isinstance(event, StepDone):
            self._put()
            if self._rates is None:
                self._rates = sorted(event.rates)
                if self._is_new:
                    self._writer.writerow(["step", "loss", "smooth_loss", "seconds", "images", "measured",
                                           *(f"rate {name}" for name in self._rates)])
            self._waiting = [event.step, event.loss, event.smooth_loss, f"{event.seconds:.4f}", event.images_seen, "",
                             *(event.rates.get(name, "") for name in self._rates)]
        elif isinstance(event, Measured) and self._waiting is not None and self._waiting[0] == event.step:
            self._waiting[5] = event.error

    def close(self) -> None:
        try:
            self._put()
        finally:
            self._file.close()

    def _put(self) -> None:
        if self._waiting is not None:
            self._writer.writerow(self._waiting)
            self._file.flush()
            self._waiting = None


class TensorBoardLog:
    """Curves and samples, in a folder for each run of that name."""

    name = "TensorBoard"

    def __init__(self, folder: Path, resumed: bool):
        runs = sorted(path for path in folder.glob("run-*") if path.is_dir())
        goes_on = resumed and bool(runs)
        self._file = EventFile(runs[-1] if goes_on else folder / f"run-{len(runs) + 1:04d}")

    def write(self, event: Event) -> None:
        if isinstance(event, Sampled):
            png = event.path.read_bytes()
            width, height = (int.from_bytes(png[at:at + 4], "big") for at in (16, 20))  # of PNG's first chunk
            self._file.image(sample_title(event), png, height, width, event.step)
        for tag, value in numbers(event).items():
            self._file.scalar(tag, value, event.step)
        if isinstance(event, (StepDone, Measured, Sampled)):
            self._file.flush()

    def close(self) -> None:
        self._file.close()
