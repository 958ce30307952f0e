"""The masks that automatic ones replaced, kept until the next are made, so that these can be undone, also after a restart."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

from pivotal.errors import DatasetError
from pivotal.formats.atomic import write_bytes
from pivotal.tools.dataset.journal import Undone, rows_of
from pivotal.tools.dataset.places import Place

WHAT = "automatic masks"
_LIST = "masks.jsonl"


class FormerMasks:
    """Of one folder of images. A line says of an image where its mask is kept (null: it had none), a second what was written."""

    def __init__(self, scratch: Path, place: Place):
        name = hashlib.sha256(str(place.folder).encode("utf-8", "surrogatepass")).hexdigest()[:16]
        self._folder = scratch / "datasets_edited" / f"{name}-masks"
        self._place = place

    def begin(self) -> None:
        """Forgets those of the last time.

        Raises:
            DatasetError: they cannot be deleted, or nothing can be written there.
        """
        try:
            if self._folder.exists():
                shutil.rmtree(self._folder)
            self._folder.mkdir(parents=True)
        except OSError as error:
            raise DatasetError(f"{self._folder} cannot be written ({error.strerror or error}), so masks could not be undone; "
                               "none was changed.") from error

    def keep(self, name: str) -> None:
        """Remembers the mask of an image, before it is replaced.

        Raises:
            DatasetError: it cannot be kept; then it is not to be replaced.
        """
        mask = self._place.mask(name)
        kept = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:24] + ".png" if mask.exists() else None
        try:
            if kept is not None:
                shutil.copyfile(mask, self._folder / kept)
            self._note({"name": name, "kept": kept})
        except OSError as error:
            raise DatasetError(f"{mask.name} cannot be kept ({error.strerror or error}), and stays as it is.") from error

    def written(self, name: str) -> None:
        """Remembers what was put in its place, so that what somebody paints over that is not undone."""
        self._note({"name": name, "written": _digest(self._place.mask(name))})

    def can_undo(self) -> bool:
        return any("written" in row for row in self._rows())

    def undo(self) -> Undone:
        """Puts the former masks back, where nothing else has changed them since.

        Raises:
            DatasetError: there are none.
        """
        facts: dict[str, dict[str, Any]] = {}
        for row in self._rows():
            facts.setdefault(str(row.get("name")), {}).update(row)
        made = {name: row for name, row in facts.items() if "written" in row}
        if not made:
            raise DatasetError("There are no automatic masks to undo in this folder.")
        are_back = {name: self._restored(name, row) for name, row in made.items()}
        if None not in are_back.values():  # else one can be put back once that is possible
            shutil.rmtree(self._folder, ignore_errors=True)
        return Undone(WHAT, tuple(name for name, is_back in are_back.items() if is_back),
                      tuple(name for name, is_back in are_back.items() if not is_back))

    def _restored(self, name: str, row: dict[str, Any]) -> bool | None:
        """Whether the former mask is back; None when it could not be written."""
        try:
            mask = Place(self._place.folder, True, self._place.ending).mask(name)
            if _digest(mask) != row["written"]:
                return False
            if row.get("kept") is None:
                mask.unlink()
            else:
                write_bytes(mask, (self._folder / row["kept"]).read_bytes())
        except FileNotFoundError:  # the mask was deleted since
            return False
        except (DatasetError, OSError):  # the image is gone, or the folder write-protected
            return None
        return True

    def _note(self, row: dict[str, Any]) -> None:
        with (self._folder / _LIST).open("a", encoding="utf-8", newline="\n") as file:
            file.write(json.dumps(row) + "\n")

    def _rows(self) -> list[dict[str, Any]]:
        return rows_of(self._folder / _LIST)


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
