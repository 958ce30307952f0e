"""A run's events on disk, one JSON object a line, for whoever wants to draw curves or find out what happened."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from io import FileIO
from pathlib import Path

from pivotal.events import Emit, Event, as_json


@contextmanager
def journal(path: Path, emit: Emit) -> Iterator[Emit]:
    """An `emit` that also appends to `path`; what finds no room on the disk is left out, line by line, and the run goes on."""
    with path.open("ab", buffering=0) as file:  # a buffer would want to write at the end what there was no room for

        def both(event: Event) -> None:
            emit(event)
            text = json.dumps({"at": datetime.now(timezone.utc).isoformat()} | as_json(event))
            _append(file, (text + "\n").encode("utf-8"))

        yield both


def _append(file: FileIO, line: bytes) -> None:
    """The whole line or nothing of it."""
    end = file.tell()
    with suppress(OSError):
        if file.write(line) == len(line):  # a disk that fills up takes a part first
            return
    with suppress(OSError):
        file.truncate(end)
        file.seek(end)
