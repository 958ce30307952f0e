"""What a run's journal on disk says of one entry: its events, its curve, and how it ended when nobody was there to see."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from pivotal.errors import QueueError
from pivotal.jobs.queue.entries import Entry

MOST_EVENTS, POINTS = 1000, 400  # of one page; of a curve
_TELLING = (b'"event": "StepDone"', b'"event": "Finished"', b'"event": "Failed"')

Curve = tuple[tuple[int, float, float], ...]  # step, loss, smoothed loss


def journal_size(path: Path) -> int:
    """Bytes; 0 where there is none."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def events_of(entry: Entry, since: int, limit: int = MOST_EVENTS) -> tuple[list[dict[str, Any]], int]:
    """The events from number `since` on (the first is 0), at most `limit`, and the number to ask for next.

    Raises:
        QueueError: the journal cannot be read.
    """
    found: list[dict[str, Any]] = []
    for index, line in enumerate(_lines(entry)):
        if index >= since + limit:
            break
        if index >= since:
            found.append(_event(line))
    return found, since + len(found)


def ending_of(entry: Entry) -> dict[str, Any]:
    """The fields of an entry whose process ended before it could write them down; a run that was cut off is interrupted.

    What the journal does not tell stays as it was.
    """
    found: dict[str, Any] = {"state": "interrupted", "message": "The WebUI ended while it ran."}
    latest: dict[bytes, bytes] = {}  # of the steps, which may be many, only the last one is read
    try:
        for line in _lines(entry):
            latest |= {kind: line for kind in _TELLING if kind in line}
        step, over, failed = (_event(latest.get(kind, b"{}")) for kind in _TELLING)
        if step:
            found |= {"step": step["step"], "of": step["of"], "loss": step["smooth_loss"]}
        if over:
            found |= {"state": "stopped" if over["stopped"] else "finished", "message": "",
                      "files": [[path, size_of(Path(path))] for path in over["files"]]}
        elif failed:
            found |= {"state": "failed", "message": failed["message"], "problems": failed["problems"]}
    except (QueueError, KeyError, TypeError):  # none, or one that was changed by hand: it tells what it can
        pass
    return found


def size_of(path: Path) -> int:
    """Bytes; 0 when it is not there."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def curve_of(entry: Entry) -> tuple[Curve, tuple[tuple[int, float], ...]]:
    """Loss and measured errors over the steps, thinned out; empty where there is no journal."""
    end = journal_size(entry.journal) if entry.journal_to is None else entry.journal_to
    return _curve(entry.journal, entry.journal_from, end)


@lru_cache(maxsize=8)  # the page asks anew each second, and what is over stays as it is
def _curve(journal: Path, begin: int, end: int) -> tuple[Curve, tuple[tuple[int, float], ...]]:
    points, measured, stride = [], [], 1
    try:
        for line in _lines_between(journal, begin, end):
            if b'"StepDone"' in line and (event := _event(line)).get("smooth_loss") is not None and event["step"] % stride == 0:
                points.append((event["step"], event["loss"], event["smooth_loss"]))
                if len(points) > POINTS:
                    points, stride = points[1::2], stride * 2
            elif b'"Measured"' in line and "error" in (event := _event(line)):
                measured.append((event["step"], event["error"]))
    except (QueueError, KeyError, TypeError):
        pass
    return tuple(points), tuple(measured[-POINTS:])


def _lines(entry: Entry) -> Iterator[bytes]:
    end = journal_size(entry.journal) if entry.journal_to is None else entry.journal_to
    return _lines_between(entry.journal, entry.journal_from, end)


def _lines_between(path: Path, begin: int, end: int) -> Iterator[bytes]:
    """Whole lines only: the last one may be on its way to the disk."""
    if end <= begin:
        return
    try:
        with path.open("rb") as file:
            file.seek(begin)
            while file.tell() < end and (line := file.readline()).endswith(b"\n"):
                yield line
    except OSError as error:
        raise QueueError(f"{path} cannot be read: {error.strerror or error}.") from error


def _event(line: bytes) -> dict[str, Any]:
    """An object; one line that is none, as a killed process may leave, does not hide the others."""
    try:
        event = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return event if isinstance(event, dict) else {}
