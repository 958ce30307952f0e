"""SD.Next's queue lock and its Interrupt, held and heard by one run at a time. Seen with 058a7f0 (July 2026)."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from pivotal.hosts.a1111_queue import JOB, Turn, hear_interrupts

HANDOVER = 0.01  # s; a thread that waits for the lock has it microseconds after it was released
LINE = 16  # how many may pass between two steps; more pass after the next one


class SdnextTurn(Turn):
    """As in AUTOMATIC1111, but the lock is a plain threading.Lock that tells nobody who waits for it, and jobs have ids."""

    def let_pass(self, after_each: Callable[[], None]) -> None:
        """Lets those who wait have the lock, inside of `job`. Takes `HANDOVER` at least.

        The API keeps the lock object it was given at its start (webui.py), so the lock cannot be replaced by one that
        counts: nobody waits if it is still free after a while.

        Args:
            after_each: is called when the lock is ours again, before the next one has it.
        """
        from modules import call_queue, shared

        if self._heard.is_set():
            return
        passed = 0
        vars(shared.state).pop("interrupt", None)  # an Interrupt pressed meanwhile is for them
        self._holder = None
        try:
            while passed < LINE and _anybody_took(call_queue.queue_lock):
                passed += 1
                after_each()
        finally:
            self._holder = threading.get_ident()
            if passed:
                self._begin()
            else:
                hear_interrupts(shared.state, self._heard)

    def show(self, step: int, of: int, seconds: float) -> None:
        """As in AUTOMATIC1111. A prompt that waits in the page has named the job after itself before it has the lock
        (call_queue.py, wrap_gradio_call)."""
        super().show(step, of, seconds)
        if self.mine:
            from modules import shared

            shared.state.job = JOB

    def _begin(self) -> None:
        from modules import shared

        self._job = shared.state.begin(JOB)  # clears an Interrupt that was meant for others
        hear_interrupts(shared.state, self._heard)

    def _end(self) -> None:
        from modules import shared

        self._show_no_more()
        vars(shared.state).pop("interrupt", None)
        shared.state.interrupted = False
        shared.state.end(self._job)


def _anybody_took(lock: threading.Lock) -> bool:
    """Releases the lock, and takes it again when whoever has taken it meanwhile is done; whether there was one."""
    lock.release()
    time.sleep(HANDOVER)
    if lock.acquire(blocking=False):
        return False
    lock.acquire()
    return True
