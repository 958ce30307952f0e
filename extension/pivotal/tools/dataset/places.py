"""Which files of a dataset may be read and written: its images, their captions and masks, and nothing beside them."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pivotal.data.folder import MASK, is_image
from pivotal.errors import DatasetError

ENDINGS = (".txt", ".caption", ".captions", ".tags", ".text", ".cap")  # of caption files; no others are read or written


@dataclass(frozen=True)
class Place:
    """A folder of images that the user named."""

    folder: Path  # absolute, links resolved
    subfolders: bool = False
    ending: str = ".txt"  # of caption files

    def image(self, name: str) -> Path:
        """The image of that name.

        Args:
            name: from the folder, with slashes, as `Found.name`.

        Raises:
            DatasetError: it is no image of this folder.
        """
        path = self.folder / name
        parts = Path(name).parts
        is_here = bool(parts) and not Path(name).is_absolute() and ".." not in parts and (self.subfolders or len(parts) == 1)
        if not (is_here and is_image(path) and not any(part.startswith(".") for part in parts) and self._holds(path)):
            raise DatasetError(f"{name!r} is no image of {self.folder}; open the folder again.")
        return path

    def caption(self, name: str) -> Path:
        """Where the caption of an image is, or would be.

        Raises:
            DatasetError: `name` is no image of this folder, or its caption file is a link out of it.
        """
        path = self.image(name).with_suffix(self.ending)
        if path.exists() and not self._holds(path):
            raise DatasetError(f"{path.name} is a link to a file outside of {self.folder}; put a file in its place.")
        return path

    def mask(self, name: str) -> Path:
        """Where the mask of an image is, or would be.

        Raises:
            DatasetError: as of `caption`.
        """
        path = self.image(name)
        mask = path.with_name(path.stem + MASK)
        if mask.exists() and not self._holds(mask):
            raise DatasetError(f"{mask.name} is a link to a file outside of {self.folder}; put a file in its place.")
        return mask

    def _holds(self, path: Path) -> bool:
        """Whether `path` is a file that lies in the folder also when its links are followed."""
        try:
            return path.is_file() and path.resolve().is_relative_to(self.folder)
        except (OSError, ValueError):  # a circle of links; a name with a zero in it
            return False


@dataclass(frozen=True)
class Seen:
    """What the system says of an image without opening it."""

    name: str  # from the folder, with slashes
    stamp: tuple[int, int]  # time of change in ns, and size in bytes: another one when the file is another
    caption: tuple[int, int] | None  # likewise of its caption file; None when there is none
    mask: tuple[int, int] | None


def open_place(where: str, *, subfolders: bool = False, ending: str = "") -> Place:
    """The folder that the user typed.

    Args:
        ending: of caption files; empty takes what most of the folder's captions end in.

    Raises:
        DatasetError: there is no such folder, or no caption file ends so.
    """
    text = where.strip().strip('"')
    if not text:
        raise DatasetError("Name the folder that holds the images.")
    if ending and ending.lower() not in ENDINGS:
        raise DatasetError(f"Caption files end in {', '.join(ENDINGS)}; not in {ending!r}.")
    try:
        path = Path(text).expanduser()
        folder = path.resolve()
        if not folder.is_dir():
            kind = "is a file; this page works on folders of images" if folder.is_file() else "does not exist"
            raise DatasetError(f"{path} {kind}.")
        seen = Place(folder, subfolders)
        return Place(folder, subfolders, ending or _most_used(seen))
    except (OSError, ValueError, RuntimeError) as error:
        raise DatasetError(f"{text[:200]!r} cannot be read: {error}.") from error


def _most_used(place: Place) -> str:
    stems, endings = set(), []
    for path, _ in _files(place.folder, place.subfolders):
        if is_image(path):
            stems.add(path.with_suffix(""))
        elif path.suffix in ENDINGS:
            endings.append(path)
    counts = Counter(path.suffix for path in endings if path.with_suffix("") in stems)
    return counts.most_common(1)[0][0] if counts else ENDINGS[0]


def look(place: Place) -> list[Seen]:
    """Every image of a folder, by name.

    Raises:
        DatasetError: the folder cannot be read.
    """
    try:
        stamps = {path: (stat.st_mtime_ns, stat.st_size) for path, stat in _files(place.folder, place.subfolders)}
    except OSError as error:
        raise DatasetError(f"{place.folder} cannot be read: {error.strerror or error}.") from error
    images = sorted((path.relative_to(place.folder).parts, path) for path in stamps if is_image(path))
    return [Seen("/".join(parts), stamps[path], stamps.get(path.with_suffix(place.ending)),
                 stamps.get(path.with_name(path.stem + MASK))) for parts, path in images]


def _files(folder: Path, subfolders: bool) -> Iterator[tuple[Path, os.stat_result]]:
    """Files with what the system knows of them; hidden folders are left out, as in training, and links to folders.

    So are names that are no text (bytes of another system): neither a page nor a journal could hold them.
    """
    with os.scandir(folder) as entries:
        for entry in entries:
            if not _is_text(entry.name):
                continue
            if entry.is_dir(follow_symlinks=False):
                if subfolders and not entry.name.startswith("."):
                    yield from _files(Path(entry.path), subfolders)
            elif entry.is_file():
                yield Path(entry.path), entry.stat()


def _is_text(name: str) -> bool:
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
