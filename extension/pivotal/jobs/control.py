"""How others reach a running job."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field


@dataclass
class Control:
    """How others reach a running job."""

    stop: threading.Event = field(default_factory=threading.Event)
    sample: threading.Event = field(default_factory=threading.Event)  # draws the samples after the next step
    save: threading.Event = field(default_factory=threading.Event)  # writes a copy and the state after the next step
    stop_after_steps: int | None = None  # stops, as if asked to, once so many steps are done
    patient: bool = True  # waits for room on a full disk instead of failing
