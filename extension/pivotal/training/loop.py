"""Steps until the end, a stop, or nothing left to learn."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager

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
    with _settled():
        return _steps(session, emit, after_step, should_stop, is_enough)


@contextmanager
def _settled() -> Iterator[None]:
    """While it lasts, Python looks for rubbish only among what is made meanwhile, not among all that the host has: that
    took as long as several small steps, now and then."""
    if gc.get_freeze_count():  # somebody else's
        yield
        return
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def _steps(session: Session, emit: Emit, after_step: Callable[[], None], should_stop: Callable[[], bool],
           is_enough: Callable[[], bool]) -> bool:
    steps = session.settings.steps
    while not session.clock().ended:
        stop, enough = session.ranks.join((), [should_stop(), is_enough()])  # one process ends with the others
        if stop:
            return True
        if enough:
            return False
        if session.over():
            emit(Noticed("Every part has reached its stop; the run ends here."))
            return False
        before, learning = session.progress, session.learning()
        trouble = session.step(learning)
        now = session.progress
        if trouble:
            emit(Noticed(trouble, "guard.bad_step"))
        if now.step <= before.step:  # taken back, or to be tried again
            continue
        emit(StepDone(now.step, steps, now.loss, now.smooth_loss, session.rates(learning), now.seconds - before.seconds,
                      now.images, session.estimates()))
        after_step()
    return False
