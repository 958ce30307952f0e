"""Facts about a run, told to the page, the terminal and the log alike.

An event never holds a sentence for a screen, a tensor or anything that changes later.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal


@dataclass(frozen=True)
class Phase:
    """What the run is busy with; `done` of `of` where it can be counted."""

    name: Literal["waiting", "loading", "dataset", "caching", "training", "sampling", "saving"]
    done: int = 0
    of: int = 0


@dataclass(frozen=True)
class PlannedConcept:
    """One source of a run's images."""

    name: str
    kind: Literal["training", "regularization", "validation"]
    images: int
    per_epoch: float  # images of it that are trained on in an epoch, repeats counted


@dataclass(frozen=True)
class PlannedBucket:
    """The images of one size."""

    size: tuple[int, int]  # height, width in px
    images: int
    cropped: float  # mean share of an image that is cut off, 0..1


@dataclass(frozen=True)
class Planned:
    """What a run will see, known before its first step."""

    images: int  # different ones
    concepts: tuple[PlannedConcept, ...]
    buckets: tuple[PlannedBucket, ...]  # those with most images first
    images_per_epoch: float  # repeats counted
    batches_per_epoch: float
    batch: int
    accumulation: int
    steps: int
    epochs: float
    images_seen: int
    enlarged: int = 0  # images that have fewer pixels than one of the sizes they are brought to


@dataclass(frozen=True)
class Started:
    """The run is about to take its first step."""

    steps: int
    images: int
    batch: int  # images an optimizer step sees: batch size x accumulation
    checkpoint: str
    first_step: int = 0  # more than 0 when resumed
    minutes: float | None = None  # spent in steps, after which the run ends, where it has a time limit
    seconds: float = 0.0  # spent in steps by earlier sessions


@dataclass(frozen=True)
class StepDone:
    """One optimizer step is over."""

    step: int  # 1..of
    of: int
    loss: float
    smooth_loss: float
    rates: Mapping[str, float]  # learning rate by trainable; 0.0 when it has stopped
    seconds: float  # wall time of this step
    images_seen: int
    estimates: Mapping[str, float] = field(default_factory=dict)  # the rate that an optimizer has found (d), by trainable


@dataclass(frozen=True)
class Paused:
    """The run waits to be resumed; the model is given back and its state is written."""

    step: int


@dataclass(frozen=True)
class Resumed:
    """A paused run goes on."""

    step: int


@dataclass(frozen=True)
class Discarded:
    """A run was stopped and what it wrote is gone, but for its logs."""

    removed: tuple[Path, ...]
    restored: tuple[Path, ...]  # files of the user that it had replaced
    left: tuple[Path, ...]  # changed by somebody else since, or not to be deleted


@dataclass(frozen=True)
class VectorTold:
    """One vector of an embedding in training."""

    placeholder: str
    encoder: str
    number: int  # from 1
    norm: float
    relative: float  # its norm over the median norm of the encoder's own tokens
    drift: float  # 1 - cosine of the angle to where it began: 0 is the same direction, 1 a right angle
    nearest: tuple[tuple[str, float], ...]  # tokens and the cosines of their angles to it, nearest first
    moved: bool  # whether it is another than where it began


@dataclass(frozen=True)
class VectorsTold:
    """What has become of the vectors, and how hard each band of timesteps is."""

    step: int
    vectors: tuple[VectorTold, ...]
    by_timestep: Mapping[str, float]  # first timestep of a band -> mean loss so far


@dataclass(frozen=True)
class Measured:
    """The error at fixed timesteps and noise was measured."""

    step: int
    error: float  # mean squared error; smaller is better
    by_timestep: Mapping[str, float]  # timestep -> error
    by_concept: Mapping[str, float]  # concept -> error, where there are several
    held_out: bool  # whether on images that are not trained on
    best: bool  # whether it is the lowest of the run so far


@dataclass(frozen=True)
class ImageLoss:
    """How hard one image was over a run."""

    path: Path
    times: int  # seen
    loss: float  # mean
    relative: float  # mean of its loss over the mean loss at the same timesteps: 1 is as others, 2 twice as hard


@dataclass(frozen=True)
class LossesTold:
    """Which images and timesteps were hard."""

    worst: tuple[ImageLoss, ...]  # hardest first
    by_timestep: Mapping[str, float]  # first timestep of a band -> mean loss
    path: Path | None  # where those of all images stand


@dataclass(frozen=True)
class Sampled:
    """A preview image was drawn."""

    step: int
    prompt: str
    path: Path
    seed: int | None = None
    raw: bool = False  # drawn with the last step's weights although an average is kept


@dataclass(frozen=True)
class Saved:
    """A file was written, whole, and is usable now."""

    step: int
    path: Path
    kind: Literal["embedding", "network", "state"]
    final: bool
    prompt: str = ""  # what to write into a prompt to use it: a word, or a network's tag with the words it brings


@dataclass(frozen=True)
class Noticed:
    """Something the user should know that does not end the run."""

    text: str
    key: str = ""


@dataclass(frozen=True)
class Failed:
    """The run ended without its result; `problems` are under the keys of their options."""

    message: str
    problems: Mapping[str, str]
    remedies: Mapping[str, Any] = field(default_factory=dict)  # option -> the value with which the run may do better


@dataclass(frozen=True)
class Finished:
    """The run ended and its files are written."""

    step: int
    seconds: float
    loss: float | None
    files: tuple[Path, ...]
    stopped: bool  # by the user, before the last step


Event = (Phase | Planned | Started | StepDone | Paused | Resumed | Discarded | VectorsTold | Measured | LossesTold | Sampled
         | Saved | Noticed | Failed | Finished)
Emit = Callable[[Event], None]


def as_json(event: Event) -> dict[str, Any]:
    """`event` as plain values, its class name under ``event``."""
    values = {key: _plain(value) for key, value in asdict(event).items()}
    return {"event": type(event).__name__} | values


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return value
