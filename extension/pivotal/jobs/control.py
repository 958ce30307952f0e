"""How others reach a running job."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field

_LOOKS_EVERY = 0.1  # seconds; two things may end a pause, and an Event waits for one


@dataclass
class Control:
    """How others reach a running job."""

    stop: threading.Event = field(default_factory=threading.Event)
    discard: threading.Event = field(default_factory=threading.Event)  # with stop: nothing of the run is kept
    pause: threading.Event = field(default_factory=threading.Event)  # gives the model back after the step, until it is cleared
    lent: threading.Event = field(default_factory=threading.Event)  # others use the model of a paused run, until it is cleared
    sample: threading.Event = field(default_factory=threading.Event)  # draws the samples after the next step
    save: threading.Event = field(default_factory=threading.Event)  # writes a copy and the state after the next step
    stop_after_steps: int | None = None  # stops, as if asked to, once so many steps are done
    patient: bool = True  # waits for room on a full disk instead of failing

    def wait_for_resume(self) -> None:
        """Returns when the run shall go on, if only to be stopped."""
        while self.pause.is_set() and not self.stop.wait(_LOOKS_EVERY):
            pass
        self.pause.clear()
        while self.lent.is_set():
            time.sleep(_LOOKS_EVERY)
