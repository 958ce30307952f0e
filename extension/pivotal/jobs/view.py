"""A run as one sees it now, folded from its events; frozen, so any thread may read it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from pivotal.events import (
    Event,
    Failed,
    Finished,
    ImageLoss,
    LossesTold,
    Measured,
    Noticed,
    Phase,
    Planned,
    Sampled,
    Saved,
    Started,
    StepDone,
)
from pivotal.jobs.plan_words import plan_lines

State = Literal["idle", "running", "stopping", "finished", "stopped", "failed"]
CURVE, LOG, SAMPLES = 400, 30, 200  # points, lines and images that are kept


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
    curve: tuple[tuple[int, float, float], ...] = ()  # (step, loss, smoothed loss)
    stride: int = 1  # steps between two points of the curve
    rates: Mapping[str, float] = field(default_factory=dict)
    measured: tuple[tuple[int, float], ...] = ()  # (step, error), latest last
    held_out: bool = False  # whether these are of images that are not trained on
    best_step: int | None = None  # of the measured ones
    hardest: tuple[ImageLoss, ...] = ()  # images, told at the end
    samples: tuple[tuple[int, str, Path], ...] = ()  # (step, prompt, file), latest last
    files: tuple[Path, ...] = ()
    prompts: Mapping[str, str] = field(default_factory=dict)  # file -> what to write into a prompt to use it
    log: tuple[str, ...] = ()
    message: str = ""
    problems: Mapping[str, str] = field(default_factory=dict)
    version: int = 0  # grows with every event

    @property
    def steps_per_second(self) -> float | None:
        return 1 / self.seconds_per_step if self.seconds_per_step else None

    @property
    def seconds_left(self) -> float | None:
        return None if self.seconds_per_step is None else self.seconds_per_step * (self.of - self.step)


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
        return {"of": event.steps, "step": event.first_step}
    if isinstance(event, StepDone):
        return _stepped(view, event)
    if isinstance(event, Sampled):
        prompt = f"{event.prompt} (raw)" if event.raw else event.prompt
        return {"samples": (*view.samples, (event.step, prompt, event.path))[-SAMPLES:]}
    if isinstance(event, Measured):
        return {"measured": (*view.measured, (event.step, event.error))[-CURVE:], "held_out": event.held_out,
                "best_step": event.step if event.best else view.best_step}
    if isinstance(event, LossesTold):
        return {"hardest": event.worst}
    if isinstance(event, Saved):
        return {} if event.kind == "state" else {
            "files": (*(path for path in view.files if path != event.path), event.path),
            "prompts": {**view.prompts, str(event.path): event.prompt}}
    if isinstance(event, Failed):
        return {"state": "failed", "message": event.message, "problems": dict(event.problems), "phase": ""}
    if isinstance(event, Finished):
        return {"state": "stopped" if event.stopped else "finished", "phase": "", "files": event.files}
    return {}


def _stepped(view: JobView, event: StepDone) -> dict[str, object]:
    previous = view.seconds_per_step
    pace = event.seconds if previous is None else 0.9 * previous + 0.1 * event.seconds
    curve, stride = view.curve, view.stride
    if event.step % stride == 0:
        curve = (*curve, (event.step, event.loss, event.smooth_loss))
    if len(curve) > CURVE:  # half of the points say as much
        curve, stride = curve[1::2], stride * 2
    return {"step": event.step, "of": event.of, "loss": event.loss, "smooth_loss": event.smooth_loss,
            "seconds": view.seconds + event.seconds, "seconds_per_step": pace, "curve": curve, "stride": stride,
            "rates": dict(event.rates)}


def words(event: Event) -> str:
    """A line for the log, or several; empty for events that come too often."""
    if isinstance(event, Planned):
        return "\n".join(plan_lines(event))
    if isinstance(event, Started):
        resumed = f", resumed at step {event.first_step}" if event.first_step else ""
        return (f"Training on {event.checkpoint}: {event.images} images, {event.steps} steps of {event.batch} images"
                f"{resumed}.")
    if isinstance(event, Phase) and event.done == 0 and event.name in ("waiting", "loading", "caching", "saving"):
        return {"waiting": "Waiting for the host.", "loading": "Borrowing the checkpoint.",
                "caching": f"Encoding {event.of} images.", "saving": "Saving."}[event.name]
    if isinstance(event, Measured):
        which = " on held-out images" if event.held_out else ""
        return f"Step {event.step}: error{which} {event.error:.5g}{', the best so far' if event.best else ''}."
    if isinstance(event, Sampled):
        return f"Step {event.step}: drew {event.prompt!r}."
    if isinstance(event, Saved):
        return f"Step {event.step}: wrote {'the state' if event.kind == 'state' else event.path}."
    if isinstance(event, Noticed):
        return event.text
    if isinstance(event, Failed):
        return f"Failed: {event.message}"
    if isinstance(event, Finished):
        return f"{'Stopped' if event.stopped else 'Finished'} after {event.step} steps, {event.seconds:.0f} s."
    return ""
