"""How others reach a running job."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field


@dataclass
class Control:
    """How others reach a running job."""

    stop: threading.Event = field(default_factory=threading.Event)
    stop_after_steps: int | None = None  # stops, as if asked to, once so many steps are done
    patient: bool = True  # waits for room on a full disk instead of failing
