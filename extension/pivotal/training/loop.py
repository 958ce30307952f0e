"""Steps until the end, a stop, or nothing left to learn."""

from __future__ import annotations

from collections.abc import Callable

from pivotal.events import Emit, Noticed, StepDone
from pivotal.training.session import Session


def train(session: Session, steps: int, emit: Emit, *, after_step: Callable[[], None],
          should_stop: Callable[[], bool]) -> bool:
    """Runs `session` up to step `steps`.

    Args:
        after_step: called after each step's event; saves and samples happen there.
        should_stop: asked before each step.

    Returns: whether it was stopped before the end.
    """
    while session.progress.step < steps:
        if should_stop():
            return True
        learning = session.learning()
        if not learning:
            emit(Noticed("Every part has reached its stop; the run ends here."))
            return False
        before = session.progress
        session.step(learning)
        now = session.progress
        rates = {part.name: part.rate if part in learning else 0.0 for part in session.trainables}
        emit(StepDone(now.step, steps, now.loss, now.smooth_loss, rates, now.seconds - before.seconds, now.images))
        after_step()
    return False
