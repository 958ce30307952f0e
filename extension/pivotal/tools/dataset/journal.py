"""What captions were before they were changed, so that it can be undone, also after a restart."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pivotal.errors import DatasetError
from pivotal.formats.atomic import write_text
from pivotal.tools.dataset.caption_files import at_once, read_caption, write_caption
from pivotal.tools.dataset.places import Place

KEPT = 64_000_000  # bytes of journal; of a longer one the older half is forgotten


@dataclass(frozen=True)
class Changed:
    """A caption before and after; None where there is no file."""

    name: str
    old: str | None
    new: str | None


@dataclass(frozen=True)
class Undone:
    """What undoing did."""

    what: str
    back: tuple[str, ...]  # names whose captions are as before
    left: tuple[str, ...]  # names that were changed otherwise since, and stay as they are


class Journal:
    """Changes of a folder's captions, one a line, in a file of ours. Changes of one group are undone together."""

    def __init__(self, scratch: Path, place: Place):
        folder = hashlib.sha256(str(place.folder).encode("utf-8", "surrogatepass")).hexdigest()[:16]
        self._path = scratch / "datasets_edited" / f"{folder}.jsonl"
        self._place = place

    def new_group(self) -> str:
        return uuid.uuid4().hex[:12]

    def note(self, group: str, what: str, changes: Sequence[Changed]) -> None:
        """Remembers `changes`, before they are made.

        Raises:
            DatasetError: it cannot be written; then nothing is to be changed.
        """
        lines = [json.dumps({"group": group, "what": what, "ending": self._place.ending, "name": change.name, "old": change.old,
                             "new": change.new}) + "\n" for change in changes]
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            if self._path.exists() and self._path.stat().st_size > KEPT:
                kept = self._path.read_text("utf-8").splitlines(keepends=True)
                write_text(self._path, "".join(kept[len(kept) // 2:]))
            with self._path.open("a", encoding="utf-8", newline="\n") as file:
                file.writelines(lines)
        except OSError as error:
            raise DatasetError(f"{self._path} cannot be written ({error.strerror or error}), so that nothing could be undone; "
                               "no caption was changed.") from error

    def last(self) -> str:
        """What would be undone, in words; empty when nothing can be."""
        rows = self._rows()
        return f"{rows[-1]['what']}" if rows else ""

    def undo(self) -> Undone:
        """Takes the last group of changes back, where nothing else has changed them since.

        Raises:
            DatasetError: there is nothing to undo.
        """
        rows = self._rows()
        if not rows:
            raise DatasetError("There is nothing to undo in this folder.")
        group = [row for row in rows if row["group"] == rows[-1]["group"]]
        are_back = at_once(self._restored, group)  # a caption is in a group only once
        back = [row["name"] for row, is_back in zip(group, are_back, strict=True) if is_back]
        left = [row["name"] for row, is_back in zip(group, are_back, strict=True) if not is_back]
        kept = [json.dumps(row) + "\n" for row in rows if row["group"] != rows[-1]["group"]]
        try:
            write_text(self._path, "".join(kept))
        except OSError as error:
            raise DatasetError(f"{self._path} cannot be written ({error.strerror or error}). The captions are as before "
                               "all the same; open the folder again to see them.") from error
        return Undone(rows[-1]["what"], tuple(back), tuple(left))

    def _restored(self, row: dict) -> bool:
        try:
            path = Place(self._place.folder, True, row["ending"]).caption(row["name"])
            if read_caption(path) != row["new"]:
                return False
            write_caption(path, row["old"])
        except DatasetError:  # the image is gone, or its caption write-protected
            return False
        return True

    def _rows(self) -> list[dict]:
        return [row for row in rows_of(self._path) if {"group", "what", "ending", "name", "old", "new"} <= row.keys()]


def rows_of(path: Path) -> list[dict]:
    """The whole rows of a file with one JSON object a line; a line that a crash cut short is left out, and so is no file."""
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return []
    rows = []
    for line in lines:
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict):
            rows.append(row)
    return rows
