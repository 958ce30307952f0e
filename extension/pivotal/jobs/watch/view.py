"""A run as one sees it now, folded from its events; frozen, so any thread may read it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from pivotal.events import (
    Discarded,
    Event,
    Failed,
    Finished,
    ImageLoss,
    LossesTold,
    Measured,
    Noticed,
    Paused,
    Phase,
    Planned,
    Resumed,
    Sampled,
    Saved,
    Started,
    StepDone,
    VectorsTold,
    VectorTold,
)
from pivotal.jobs.watch.curve import Point, Rates, grown, lengthened
from pivotal.jobs.watch.event_words import words

State = Literal["idle", "running", "pausing", "paused", "stopping", "finished", "stopped", "failed"]
BUSY: tuple[State, ...] = ("running", "pausing", "paused", "stopping")  # a run is there, if only to be resumed
MEASURED, LOG, SAMPLES, NOTICES = 400, 30, 5000, 30  # points, lines, images and notices that are kept
Sample = tuple[int, str, Path]  # step, prompt, file


@dataclass(frozen=True)
class Notice:
    """Something the user should know, and how often it was said."""

    key: str  # of the option that it is about, if any
    text: str
    count: int = 1


@dataclass(frozen=True)
class JobView:
    """What the page and the API show of a run."""

    id: str = ""
    name: str = ""
    state: State = "idle"
    plan: Planned | None = None
    phase: str = ""
    phase_done: int = 0
    phase_of: int = 0
    step: int = 0
    of: int = 0
    loss: float | None = None
    smooth_loss: float | None = None
    seconds: float = 0.0  # spent in steps
    seconds_per_step: float | None = None  # smoothed
    minutes: float | None = None  # spent in steps, after which the run ends, where it has a time limit
    curve: tuple[Point, ...] = ()  # (step, loss, smoothed loss); its lowest and highest points are always there
    stride: int = 1  # steps that may share two points of the curve
    rates: Mapping[str, float] = field(default_factory=dict)
    rate_curve: tuple[Rates, ...] = ()  # (step, learning rate by part)
    rate_stride: int = 1
    estimate_curve: tuple[Rates, ...] = ()  # (step, what an optimizer has found as its rate, by part)
    estimate_stride: int = 1
    vectors: tuple[VectorTold, ...] = ()  # of the embeddings, latest
    vectors_step: int = 0
    by_timestep: Mapping[str, float] = field(default_factory=dict)  # first timestep of a band -> mean loss
    measured: tuple[tuple[int, float], ...] = ()  # (step, error), latest last
    held_out: bool = False  # whether these are of images that are not trained on
    best_step: int | None = None  # of the measured ones
    hardest: tuple[ImageLoss, ...] = ()  # images, told at the end
    samples: tuple[Sample, ...] = ()  # latest last
    samples_dropped: int = 0  # earlier ones that are not kept here; a sample's number counts them
    files: tuple[Path, ...] = ()
    prompts: Mapping[str, str] = field(default_factory=dict)  # file -> what to write into a prompt to use it
    log: tuple[str, ...] = ()
    notices: tuple[Notice, ...] = ()  # those with a key, latest last
    message: str = ""
    problems: Mapping[str, str] = field(default_factory=dict)
    remedies: Mapping[str, Any] = field(default_factory=dict)  # option -> the value with which a failed run may do better
    version: int = 0  # grows with every event

    @property
    def steps_per_second(self) -> float | None:
        return 1 / self.seconds_per_step if self.seconds_per_step else None

    @property
    def seconds_left(self) -> float | None:
        if self.seconds_per_step is None:
            return None
        by_steps = self.seconds_per_step * (self.of - self.step)
        return by_steps if self.minutes is None else max(min(by_steps, 60 * self.minutes - self.seconds), 0.0)

    @property
    def share(self) -> float:
        """How much of the run is done, 0 to 1, by its steps or its time, whichever ends it first."""
        by_steps = self.step / self.of if self.of else 0.0
        by_time = self.seconds / 60 / self.minutes if self.minutes else 0.0
        return min(max(by_steps, by_time), 1.0)


def sample_address(run: str, number: int) -> str:
    """Where the API hands out a sample, relative to the page."""
    return f"pivotal/v1/job/samples/{number}?run={run}"


def fold(view: JobView, event: Event) -> JobView:
    """`view` after `event`."""
    changed = _changed(view, event)
    line = words(event)
    log = (*view.log, line)[-LOG:] if line else view.log
    return replace(view, version=view.version + 1, log=log, **changed)


def _changed(view: JobView, event: Event) -> dict[str, object]:
    if isinstance(event, Phase):
        return {"phase": event.name, "phase_done": event.done, "phase_of": event.of}
    if isinstance(event, Planned):
        return {"plan": event}
    if isinstance(event, Started):
        return {"of": event.steps, "step": event.first_step, "minutes": event.minutes, "seconds": event.seconds}
    if isinstance(event, StepDone):
        return _stepped(view, event)
    if isinstance(event, Paused):  # where Resume was pressed before it was there, Resumed comes at once
        return {"state": "stopping" if view.state == "stopping" else "paused", "phase": ""}
    if isinstance(event, Resumed):
        return {"state": "stopping" if view.state == "stopping" else "running"}
    if isinstance(event, Discarded):
        return {"files": (), "prompts": {}, "samples": (), "samples_dropped": 0, "message": words(event)}
    if isinstance(event, Sampled):
        return _sampled(view, event)
    if isinstance(event, Measured):
        return {"measured": (*view.measured, (event.step, event.error))[-MEASURED:], "held_out": event.held_out,
                "best_step": event.step if event.best else view.best_step}
    if isinstance(event, VectorsTold):
        return {"vectors": event.vectors, "vectors_step": event.step, "by_timestep": dict(event.by_timestep)}
    if isinstance(event, Noticed):
        return _noticed(view, event)
    if isinstance(event, LossesTold):
        return {"hardest": event.worst, "by_timestep": dict(event.by_timestep)}
    if isinstance(event, Saved):
        return {} if event.kind == "state" else {
            "files": (*(path for path in view.files if path != event.path), event.path),
            "prompts": {**view.prompts, str(event.path): event.prompt}}
    if isinstance(event, Failed):
        return {"state": "failed", "message": event.message, "problems": dict(event.problems), "phase": "",
                "remedies": dict(event.remedies)}
    if isinstance(event, Finished):
        return {"state": "stopped" if event.stopped else "finished", "phase": "", "files": event.files}
    return {}


def _stepped(view: JobView, event: StepDone) -> dict[str, object]:
    previous = view.seconds_per_step
    pace = event.seconds if previous is None else 0.9 * previous + 0.1 * event.seconds
    curve, stride = grown(view.curve, view.stride, (event.step, event.loss, event.smooth_loss))
    rates, rate_stride = lengthened(view.rate_curve, view.rate_stride, (event.step, dict(event.rates)))
    found, found_stride = view.estimate_curve, view.estimate_stride
    if event.estimates:
        found, found_stride = lengthened(found, found_stride, (event.step, dict(event.estimates)))
    return {"step": event.step, "of": event.of, "loss": event.loss, "smooth_loss": event.smooth_loss,
            "seconds": view.seconds + event.seconds, "seconds_per_step": pace, "curve": curve, "stride": stride,
            "rates": dict(event.rates), "rate_curve": rates, "rate_stride": rate_stride, "estimate_curve": found,
            "estimate_stride": found_stride}


def _sampled(view: JobView, event: Sampled) -> dict[str, object]:
    prompt = f"{event.prompt} (raw)" if event.raw else event.prompt
    samples = (*view.samples, (event.step, prompt, event.path))
    dropped = max(len(samples) - SAMPLES, 0)
    return {"samples": samples[dropped:], "samples_dropped": view.samples_dropped + dropped}


def _noticed(view: JobView, event: Noticed) -> dict[str, object]:
    """What is said again is counted, not repeated."""
    if not event.key:
        return {}
    said = next((notice for notice in view.notices if (notice.key, notice.text) == (event.key, event.text)), None)
    others = tuple(notice for notice in view.notices if notice is not said)
    return {"notices": (*others, Notice(event.key, event.text, said.count + 1 if said else 1))[-NOTICES:]}
