"""AUTOMATIC1111's queue lock and its Interrupt, held and heard by one run at a time. Seen with 1.10.1."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

JOB = "Pivotal training"  # what the host's progress API names
TASK = "task(pivotal)"  # what the host's page asks its progress for


class Turn:
    """Our turn in the host's queue: its lock, which is not re-entrant, and who has it."""

    def __init__(self) -> None:
        self._holder: int | None = None
        self._heard = threading.Event()
        self._has_shown = False

    @property
    def mine(self) -> bool:
        """Whether the calling thread has the lock through us."""
        return self._holder == threading.get_ident()

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Nobody else uses the model meanwhile; costs nothing where the calling thread has the lock already."""
        from modules import call_queue

        if self.mine:
            yield
            return
        with call_queue.queue_lock:
            self._holder = threading.get_ident()
            try:
                yield
            finally:
                self._holder = None

    @contextmanager
    def job(self) -> Iterator[None]:
        """The lock, and what the host shows and asks of a job: its name, its progress, its Interrupt."""
        with self.locked():
            self._heard.clear()
            self._begin()
            try:
                yield
            finally:
                self._end()

    def step_aside(self, before: Callable[[], None]) -> bool:
        """Lets all who wait for the lock have it, inside of `job`; whether there was anybody.

        An Interrupt pressed meanwhile is for them.

        Args:
            before: is called only when somebody waits, while the lock is still ours.
        """
        from modules import call_queue

        lock = call_queue.queue_lock
        if self._heard.is_set() or not getattr(lock, "_pending_threads", None):
            return False
        before()
        self._end()
        self._holder = None
        try:
            _pass_round(lock)
        finally:
            self._holder = threading.get_ident()
            self._begin()
        return True

    def show(self, step: int, of: int, seconds: float) -> None:
        """Tells the host's progress bar and API how far the job is; nothing where the calling thread has not the lock.

        The host reckons the time that is left from the time since the start, which is therefore set so that it is `seconds`.
        """
        if not self.mine:
            return
        from modules import progress, shared

        if progress.current_task is None:
            progress.start_task(TASK)
        state = shared.state
        state.job_count, state.job_no = 1, 0
        state.sampling_steps, state.sampling_step = of, step
        state.time_start = time.time() - seconds
        state.textinfo = f"Pivotal: step {step} of {of}"
        self._has_shown = True

    def _show_no_more(self) -> None:
        """The bar is the next job's. Not by finish_task(): the page would take all later bars of this name for done."""
        if not self._has_shown:
            return
        from modules import progress, shared

        self._has_shown = False
        if progress.current_task == TASK:
            progress.current_task = None
        shared.state.sampling_steps = shared.state.sampling_step = 0
        shared.state.textinfo = None

    def _begin(self) -> None:
        from modules import shared

        shared.state.begin(job=JOB)  # clears an Interrupt that was meant for others
        shared.state.sampling_steps = 0  # left over from the last generation, it would skew the progress
        hear_interrupts(shared.state, self._heard)

    def _end(self) -> None:
        from modules import shared

        self._show_no_more()
        vars(shared.state).pop("interrupt", None)
        shared.state.interrupted = False
        shared.state.end()

    def interrupted(self) -> bool:
        """Whether Interrupt was pressed since the job began."""
        from modules import shared

        if self.mine and shared.state.interrupted:  # set by an extension, not through interrupt()
            self._heard.set()
        return self._heard.is_set()


def _pass_round(lock: Any) -> None:
    """Gives the host's FIFOLock to all who wait for it, and takes it back when they are done (modules/fifo_lock.py).

    release() and acquire() would not do: between them the lock is free until the thread that was woken runs, and acquire()
    takes a free lock at once. So we stand in line first, in the way that acquire() does.
    """
    our_turn = threading.Event()
    with lock._inner_lock:
        lock._pending_threads.append(our_turn)
    lock.release()
    our_turn.wait()
    lock._lock.acquire()


def hear_interrupts(state: Any, heard: threading.Event) -> None:
    """Sets `heard` when the host is told to interrupt.

    Looking at `state.interrupted` now and then is not enough: the end of any handler of the page sets it back to False
    (call_queue.py, wrap_gradio_call). And "Reload UI" calls interrupt() too (shared_state.py, request_restart), which
    asks for a new page, not for the end of a run.
    """

    def interrupt() -> None:
        if sys._getframe(1).f_code.co_name != "request_restart":
            heard.set()
            type(state).interrupt(state)

    state.interrupt = interrupt
