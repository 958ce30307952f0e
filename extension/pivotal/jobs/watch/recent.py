"""The latest events of a run, numbered, for whoever asks what is new."""

from __future__ import annotations

from collections import deque
from datetime import datetime, timezone
from itertools import islice
from typing import Any

from pivotal.events import Event, as_json

KEPT, AT_ONCE = 20_000, 1000  # events in memory, and in one answer; the run's journal on disk has all


class Recent:
    """Events of the run that goes on or was the last; numbers begin at 1 with each run. Not for two threads at once."""

    def __init__(self) -> None:
        self.run = ""
        self._events: deque[tuple[int, str, Event]] = deque(maxlen=KEPT)
        self._last = 0

    def begin(self, run: str) -> None:
        """A new run begins."""
        self.run, self._last = run, 0
        self._events.clear()

    def add(self, event: Event) -> None:
        """The next event."""
        self._last += 1
        self._events.append((self._last, datetime.now(timezone.utc).isoformat(), event))

    def since(self, number: int) -> dict[str, Any]:
        """Events after `number`, oldest first, at most `AT_ONCE`; `next` is what to ask for then, `more` whether at once.

        `missing` counts those after `number` that are not kept here any more.
        """
        first = self._events[0][0] if self._events else self._last + 1
        skipped = max(number + 1 - first, 0)
        found = [{"number": at, "at": time} | as_json(event)
                 for at, time, event in islice(self._events, skipped, skipped + AT_ONCE)]
        last = found[-1]["number"] if found else self._last
        return {"run": self.run, "events": found, "next": last, "more": last < self._last,
                "missing": max(first - 1 - max(number, 0), 0)}
