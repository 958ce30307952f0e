"""What a run has learned, and which values of its parts are the result."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from pivotal.config.sections.output import Save
from pivotal.events import Emit, Noticed
from pivotal.jobs.outputs import Artifact, preview_of
from pivotal.jobs.saving import reason
from pivotal.training.session import Session


@dataclass(frozen=True)
class Outcome:
    """What a run has learned, outside of the model it was learned on."""

    files: Sequence[Artifact] = ()
    step: int = 0
    loss: float | None = None
    stopped: bool = False
    metrics: dict[str, float] = field(default_factory=dict)


@contextmanager
def result_values(session: Session, save: Save, emit: Emit) -> Iterator[int]:
    """While it lasts, the parts have the values that are the run's result; of which step."""
    best = session.best
    if best.kept:  # only where the run asks for it
        if best.step != session.progress.step:
            emit(Noticed(f"The result is that of step {best.step}, the best measured one (error {best.error:.4g})."))
        with best.in_place():
            yield best.step
        return
    with session.averaged(ema=save.ema != "last"):
        yield session.progress.step


def with_preview(files: list[Artifact], picture: Path | None, emit: Emit) -> list[Artifact]:
    """The files, and the picture that the host shows on the network's card."""
    network = next((file.path for file in files if file.kind == "network"), None)
    if network is None or picture is None:
        return files
    try:
        return [*files, preview_of(network, picture)]
    except OSError as error:
        emit(Noticed(f"The card gets no picture ({reason(error)})."))
        return files
