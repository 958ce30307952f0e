"""Lists of images: JSON Lines with columns, and plain text."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pivotal.data.folder import Item, Reading, captioned, checked, on_one_line
from pivotal.errors import DatasetError


def read_jsonl(path: Path, reading: Reading) -> list[Item]:
    """The images of a file with one JSON object a line; relative paths are meant from the file's folder.

    Raises:
        DatasetError: a line is none, lacks a column or names no file; or as of a folder's images.
    """
    found = []
    for number, line in _lines(path):
        try:
            found.append(captioned(_of_row(json.loads(line), path.parent, reading), reading))
        except (ValueError, RecursionError, DatasetError) as error:
            words = str(error) if isinstance(error, DatasetError) else f"is not JSON ({error})"
            raise DatasetError(f"{path.name}, line {number}: {words}") from error
    return _checked(path, found, reading)


def _of_row(row: Any, folder: Path, reading: Reading) -> Item:
    if not isinstance(row, dict):
        raise DatasetError(f'expected an object such as {{"{reading.image_column}": "cat.png", "{reading.text_column}": '
                           '"a cat"}.')
    image = row.get(reading.image_column)
    if not isinstance(image, str) or not image.strip():
        raise DatasetError(f"no path in the column {reading.image_column!r}; it has {', '.join(map(repr, row)) or 'nothing'}.")
    caption = row.get(reading.text_column)
    if caption is not None and not isinstance(caption, str):
        raise DatasetError(f"the column {reading.text_column!r} holds {caption!r}; expected a text.")
    if caption is None and reading.need_captions and not (reading.from_names or reading.text):
        raise DatasetError(f"no column {reading.text_column!r}; it has {', '.join(map(repr, row))}.")
    mask = row.get(reading.mask_column)
    if mask is not None and not (isinstance(mask, str) and (folder / mask).is_file()):
        raise DatasetError(f"the mask {mask!r} does not exist.")
    return Item(_existing(folder, image), None if caption is None else on_one_line(caption),
                mask=None if mask is None else folder / mask)


def read_list(path: Path, reading: Reading) -> list[Item]:
    """The images of a text file with a path a line, and behind a tab its caption, which else lies beside the image.

    Raises:
        DatasetError: a line names no file; or as of a folder's images.
    """
    found = []
    for number, line in _lines(path):
        name, tab, caption = line.partition("\t")
        try:
            item = Item(_existing(path.parent, name.strip()), on_one_line(caption) if tab else None)
            found.append(captioned(item, reading))
        except DatasetError as error:
            raise DatasetError(f"{path.name}, line {number}: {error}") from error
    return _checked(path, found, reading)


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """The lines that are not empty, counted from 1."""
    try:
        with path.open(encoding="utf-8-sig") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield number, line.rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path.name} is not UTF-8 text (byte {error.start}); save it as UTF-8.") from error
    except OSError as error:
        raise DatasetError(f"{path} cannot be read: {error.strerror or error}.") from error


def _existing(folder: Path, name: str) -> Path:
    try:
        path = folder / Path(name).expanduser()
        if path.is_file():
            return path
    except (OSError, RuntimeError) as error:  # too long for any file system; or ~ of nobody
        raise DatasetError(f"{name[:100]} is no path: {getattr(error, 'strerror', None) or error}.") from error
    raise DatasetError(f"{name} does not exist.")


def _checked(path: Path, items: list[Item], reading: Reading) -> list[Item]:
    if not items:
        raise DatasetError(f"{path.name} names no image.")
    return checked(items, reading)
