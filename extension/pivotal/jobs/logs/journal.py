"""A run's events on disk, one JSON object a line, for whoever wants to draw curves or find out what happened."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path

from pivotal.events import Emit, Event, as_json


@contextmanager
def journal(path: Path, emit: Emit) -> Iterator[Emit]:
    """An `emit` that also appends to `path`; a full disk ends the journal, not the run."""
    with path.open("a", encoding="utf-8") as file:
        open_ended = [True]

        def both(event: Event) -> None:
            emit(event)
            if open_ended[0]:
                try:
                    file.write(json.dumps({"at": datetime.now(timezone.utc).isoformat()} | as_json(event)) + "\n")
                    file.flush()
                except OSError:
                    open_ended[0] = False

        yield both
