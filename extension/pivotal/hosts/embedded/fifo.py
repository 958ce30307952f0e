"""A lock that is given to whoever has waited longest."""

from __future__ import annotations

import threading
from collections import deque


class FifoLock:
    """As threading.Lock in a `with`, but fair: a long run between two images cannot be overtaken for ever."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._line: deque[int] = deque()  # threads; the first one has the lock

    def __enter__(self) -> FifoLock:
        me = threading.get_ident()
        with self._changed:
            if me in self._line:
                raise RuntimeError("this thread holds the host's lock already")
            self._line.append(me)
            try:
                self._changed.wait_for(lambda: self._line[0] == me)
            except BaseException:  # Ctrl-C while waiting: the next in line must not wait for us
                self._leave(me)
                raise
        return self

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._leave(threading.get_ident())

    def _leave(self, thread: int) -> None:
        self._line.remove(thread)
        self._changed.notify_all()

    def step_aside(self) -> bool:
        """Lets all who wait have it, and takes it back; False, at once, when nobody waits. Only for who holds it."""
        me = threading.get_ident()
        with self._changed:
            if len(self._line) < 2:
                return False
            self._leave(me)
            self._line.append(me)
            self._changed.wait_for(lambda: self._line[0] == me)
        return True

    def wait_until_free(self, seconds: float) -> bool:
        """Whether nobody has it, at the latest after so many seconds."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._line, seconds)

    @property
    def is_mine(self) -> bool:
        """Whether the calling thread holds it."""
        with self._changed:
            return bool(self._line) and self._line[0] == threading.get_ident()

    @property
    def is_held(self) -> bool:
        """Whether anybody holds it."""
        with self._changed:
            return bool(self._line)
