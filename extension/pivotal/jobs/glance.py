"""A first look at a dataset's folder: how much there is, and a few of its images."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pivotal.config.build import typed_path
from pivotal.data.folder import Item, Reading, captioned, image_files
from pivotal.errors import DatasetError

MOST = 24
_LONGEST = 1000  # letters of a caption that are shown


@dataclass(frozen=True)
class Glance:
    """What was seen; nothing where the folder is none."""

    images: int
    captions: int  # of the shown images
    shown: tuple[Item, ...]


def glance(folder: str, *, subfolders: bool = False, extension: str = ".txt") -> Glance:
    """The first images by name, with the captions beside them; nothing is decoded."""
    reading = Reading(need_captions=False, subfolders=subfolders, extension=_extension(extension))
    try:
        path = typed_path(folder)
        files = image_files(path, subfolders=subfolders) if path.is_absolute() else []
    except (DatasetError, ValueError):  # what is wrong with it is told under the field
        return Glance(0, 0, ())
    shown = tuple(_captioned(file, reading) for file in files[:MOST])
    return Glance(len(files), sum(bool(item.caption) for item in shown), shown)


def _captioned(path: Path, reading: Reading) -> Item:
    try:
        item = captioned(Item(path, None), reading)
    except DatasetError as error:
        return Item(path, str(error))
    return Item(path, item.caption[:_LONGEST] if item.caption else item.caption)


def _extension(text: str) -> str:
    """A file's suffix and nothing more: no part of a path."""
    text = text.strip()
    return text if text.startswith(".") and not set(text) & set("/\\\0") else ".txt"
