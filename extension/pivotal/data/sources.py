"""Reads what a dataset is given as: a folder, kohya's numbered folders, a list of images, or a dataset of Hugging Face."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from pivotal.data.folder import Item, Reading, files_in, is_image, read_items
from pivotal.data.hub import HUB, exported
from pivotal.data.listed import read_jsonl, read_list
from pivotal.errors import DatasetError

_NUMBERED = re.compile(r"(\d+)_(.+)")


@dataclass(frozen=True)
class Group:
    """Images that are read alike."""

    name: str
    items: tuple[Item, ...]
    repeats: int = 1


def read_source(where: str, reading: Reading, scratch: Path) -> list[Group]:
    """All images of a source; more than one group only of kohya's numbered folders.

    Args:
        where: a folder, a .jsonl or .txt file, or ``hf:owner/name``.
        scratch: folder in which a dataset of Hugging Face is kept.

    Raises:
        DatasetError: with one sentence for each kind of trouble.
    """
    if where.startswith(HUB):
        folder = exported(where, reading, scratch)
        return [Group(where, tuple(read_items(folder, replace(reading, extension=".txt", subfolders=False))))]
    path = Path(where).expanduser()
    if path.is_file() and path.suffix.lower() == ".jsonl":
        return [Group(path.stem, tuple(read_jsonl(path, reading)))]
    if path.is_file() and path.suffix.lower() == ".txt":
        return [Group(path.stem, tuple(read_list(path, reading)))]
    if reading.repeats_in_names:
        return list(_numbered_groups(path, reading))
    if not any(map(is_image, files_in(path, reading.subfolders))):
        _suggest_numbered(path)
    return [Group(path.name, tuple(read_items(path, reading)))]


def _numbered_groups(folder: Path, reading: Reading) -> Iterator[Group]:
    """kohya's ``10_red cat``: repeats, and the caption of images without a file."""
    if beside := sorted(path.name for path in files_in(folder) if is_image(path)):
        raise DatasetError(f"{folder}: {len(beside)} images ({beside[0]}, ...) lie beside the numbered subfolders and would "
                           "not be seen; move them into one of them, or switch Repeats in names off.")
    subfolders = _subfolders(folder)
    unnumbered = [path.name for path in subfolders if not (found := _NUMBERED.fullmatch(path.name)) or int(found[1]) < 1]
    if unnumbered:
        raise DatasetError(f"{folder}: the subfolder {unnumbered[0]!r} does not begin with its repeats; name it like "
                           "'10_red cat', or move it elsewhere.")
    if not subfolders:
        raise DatasetError(f"{folder}: no subfolders; expected some named like '10_red cat' with images in them.")
    for path in subfolders:
        repeats, words = _NUMBERED.fullmatch(path.name).groups()
        items = read_items(path, replace(reading, text=reading.text or words.strip()))
        yield Group(path.name, tuple(items), int(repeats))


def _suggest_numbered(folder: Path) -> None:
    """Raises, where a folder has no images but subfolders as kohya names them."""
    numbered = [path for path in _subfolders(folder) if _NUMBERED.fullmatch(path.name)]
    if numbered:
        raise DatasetError(f"{folder}: no images, but the subfolder {numbered[0].name!r}. Switch Repeats in names on to take "
                           "such folders as repeats and captions, or Subfolders to take their images as they are.")


def _subfolders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))

