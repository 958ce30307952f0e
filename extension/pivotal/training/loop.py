"""Steps until the end, a stop, or nothing left to learn."""

from __future__ import annotations

from collections.abc import Callable

from pivotal.events import Emit, Noticed, StepDone
from pivotal.training.session import Session


def train(session: Session, emit: Emit, *, after_step: Callable[[], None], should_stop: Callable[[], bool]) -> bool:
    """Runs `session` up to its last step.

    Args:
        after_step: called after each step's event; saves and samples happen there.
        should_stop: asked before each step.

    Returns: whether it was stopped before the end.
    """
    steps = session.settings.steps
    while session.progress.step < steps:
        if should_stop():
            return True
        if session.over():
            emit(Noticed("Every part has reached its stop; the run ends here."))
            return False
        before, learning = session.progress, session.learning()
        session.step(learning)
        now = session.progress
        emit(StepDone(now.step, steps, now.loss, now.smooth_loss, session.rates(learning), now.seconds - before.seconds,
                      now.images))
        after_step()
    return False
