"""Steps until the end, a stop, or nothing left to learn."""

from __future__ import annotations

from collections.abc import Callable

from pivotal.events import Emit, Noticed, StepDone
from pivotal.training.session import Session


def train(session: Session, emit: Emit, *, after_step: Callable[[], None], should_stop: Callable[[], bool],
          is_enough: Callable[[], bool]) -> bool:
    """Runs `session` up to its last step.

    Args:
        after_step: called after each step's event; saves and samples happen there.
        should_stop: asked before each step.
        is_enough: asked before each step: whether the run is over before its last step, and not stopped.

    Returns: whether it was stopped before the end.
    """
    steps = session.settings.steps
    while not session.clock().ended:
        if should_stop():
            return True
        if is_enough():
            return False
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
