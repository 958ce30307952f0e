"""Who works the queue: one process of all that look at the same folder."""

from __future__ import annotations

import logging
import sqlite3
from pathlib import Path

from pivotal.errors import QueueError

log = logging.getLogger(__name__)


class Lease:
    """A lock that the system takes back when the process ends, however it ends.

    It is SQLite's own lock on a file of its own, for that is the one file lock which Python has on every system.
    """

    def __init__(self, path: Path):
        self.path = path
        self._held: sqlite3.Connection | None = None

    @property
    def is_held(self) -> bool:
        """Whether by us."""
        return self._held is not None

    def take(self) -> bool:
        """Whether it is ours now; False when another process has it. Where files cannot be locked at all, it is ours.

        Raises:
            QueueError: the file cannot be made.
        """
        if self._held is not None:
            return True
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(self.path, timeout=0, isolation_level=None, check_same_thread=False)
        except (OSError, sqlite3.DatabaseError) as error:
            raise QueueError(f"The queue cannot be worked: {self.path} cannot be opened ({error}).") from error
        try:
            connection.execute("BEGIN EXCLUSIVE")
        except sqlite3.DatabaseError as error:
            if "locked" in str(error) or "busy" in str(error):
                connection.close()
                return False
            log.warning("%s cannot be locked (%s); two WebUIs on this folder would work the queue at once.", self.path, error)
        self._held = connection
        return True

    def release(self) -> None:
        """Lets another process have it."""
        if self._held is not None:
            self._held.close()
            self._held = None
