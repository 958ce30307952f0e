"""What a run has written, so that it can be taken back: nothing else is ever deleted."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pivotal.events import Discarded, Emit, Event, LossesTold, Sampled, Saved
from pivotal.formats.atomic import write_bytes, write_text


@dataclass(frozen=True)
class _Entry:
    size: int
    time: int  # of the last change, ns
    kept: str | None  # where the user's file is that it took the place of


class Ledger:
    """The files of one run, over all sessions of a resumed one; kept beside them, for the next session.

    Args:
        resumed: whether it goes on; else it begins anew.
    """

    def __init__(self, path: Path, *, resumed: bool):
        self._path = path
        self._entries: dict[str, _Entry] = dict(_read(path)) if resumed else {}

    def watching(self, emit: Emit) -> Emit:
        """An `emit` that also notes what is told of as written, but for results, which `wrote` is told of."""
        def noted(event: Event) -> None:
            is_state = isinstance(event, Saved) and event.kind == "state"
            if (is_state or isinstance(event, (Sampled, LossesTold))) and event.path is not None:
                self.wrote(event.path)
            emit(event)

        return noted

    def is_own(self, path: Path) -> bool:
        """Whether the run has written what stands there, and nobody has changed it since."""
        entry = self._entries.get(str(path))
        return entry is not None and path.exists() and _is_as_written(path, entry)

    def wrote(self, path: Path, kept: Path | None = None, *, kept_own: bool = False) -> None:
        """Notes a file that was just written.

        Args:
            kept: the copy of the file that it took the place of.
            kept_own: whether that was this run's own.
        """
        before = self._entries.get(str(path))
        if kept is not None and kept_own:
            self._note(kept, None)
        theirs = None if kept is None or kept_own else str(kept)
        self._note(path, theirs or (before.kept if before is not None else None))
        with suppress(OSError):  # a full disk: then what is known is known to this session only
            write_text(self._path, json.dumps({name: list(vars(entry).values()) for name, entry in self._entries.items()}))

    def forget(self, path: Path) -> None:
        """After the run itself has deleted a file."""
        self._entries.pop(str(path), None)

    def _note(self, path: Path, kept: str | None) -> None:
        with suppress(OSError):  # somebody has deleted it already
            found = path.stat()
            self._entries[str(path)] = _Entry(found.st_size, found.st_mtime_ns, kept)

    def discard(self) -> Discarded:
        """Deletes all files of the run that nobody has changed since, and brings back what they had replaced."""
        removed, restored, left = [], [], []
        for name, entry in self._entries.items():
            path = Path(name)
            if not path.exists():
                continue
            if not _is_as_written(path, entry):
                left.append(path)
                continue
            try:
                if entry.kept is not None and Path(entry.kept).is_file():
                    write_bytes(path, Path(entry.kept).read_bytes())
                    Path(entry.kept).unlink()
                    restored.append(path)
                else:
                    path.unlink()
                    removed.append(path)
            except OSError:  # another program has it open (Windows), or the folder is not to be written to
                left.append(path)
        if self._entries:  # else what stands there is of an earlier run
            self._path.unlink(missing_ok=True)
        self._entries.clear()
        return Discarded(tuple(removed), tuple(restored), tuple(left))


def _is_as_written(path: Path, entry: _Entry) -> bool:
    found = path.stat()
    return (found.st_size, found.st_mtime_ns) == (entry.size, entry.time)


def _read(path: Path) -> Iterator[tuple[str, _Entry]]:
    """What an earlier session has noted; nothing when it cannot be read, for then nothing is known to be ours."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        yield from [(str(name), _Entry(int(size), int(time), kept)) for name, (size, time, kept) in found.items()]
    except (OSError, ValueError, TypeError, AttributeError):
        return
