"""Caption files as the user sees them: text in, text out, line ends and the rest of their form kept."""

from __future__ import annotations

import stat
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pivotal.errors import DatasetError
from pivotal.formats.atomic import write_bytes

In, Out = TypeVar("In"), TypeVar("Out")
_BOM = "\ufeff"
_WRITERS = 16
LONGEST = 16_000_000  # bytes; a larger file is no caption


@dataclass(frozen=True)
class _Form:
    """What a file has besides its text."""

    line_end: str = "\n"
    last_line_ends: bool = False


def read_caption(path: Path) -> str | None:
    """The file's text with plain line ends and none behind the last line; None when there is no such file.

    Raises:
        DatasetError: it cannot be read, is not UTF-8, or far too large.
    """
    found = _read(path)
    return None if found is None else found[0]


def write_caption(path: Path, text: str | None) -> None:
    """Puts `text` in the place of the file's, as UTF-8 without a byte order mark, with the line ends that it had.

    Args:
        text: None deletes the file.

    Raises:
        DatasetError: the file is write-protected, or cannot be written.
    """
    try:
        if path.exists() and not path.stat().st_mode & stat.S_IWUSR:  # a rename would not ask
            raise DatasetError(f"{path.name} is write-protected, and stays as it is; take the protection off to change it.")
        if text is None:
            path.unlink(missing_ok=True)
            return
        form = _form_of(path)
        lines = text.replace("\r\n", "\n").replace("\r", "\n")
        whole = lines + "\n" if form.last_line_ends and not lines.endswith("\n") else lines
        write_bytes(path, whole.replace("\n", form.line_end).encode("utf-8"))
    except UnicodeEncodeError as error:
        raise DatasetError(f"{path.name}: letter {error.start} of the text is half of a character; take it out.") from error
    except OSError as error:
        raise DatasetError(f"{path.name} cannot be written: {error.strerror or error}.") from error


def at_once(work: Callable[[In], Out], all_of: Sequence[In]) -> list[Out]:
    """`work` of each: a disk that makes sure of each file serves many writers in the time of one."""
    with ThreadPoolExecutor(_WRITERS) as writers:
        return list(writers.map(work, all_of))


def _form_of(path: Path) -> _Form:
    try:
        found = _read(path)
    except DatasetError:  # not UTF-8: what replaces it is
        return _Form()
    return _Form() if found is None else found[1]


def _read(path: Path) -> tuple[str, _Form] | None:
    try:
        size = path.stat().st_size
        if size > LONGEST:
            raise DatasetError(f"{path.name} has {size / 1e6:.0f} MB; that is no caption. Put a shorter text in its place.")
        raw = path.read_bytes().decode("utf-8")
    except FileNotFoundError:
        return None
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path.name} is not UTF-8 text (byte {error.start}); save it as UTF-8.") from error
    except OSError as error:
        raise DatasetError(f"{path.name} cannot be read: {error.strerror or error}.") from error
    raw = raw.removeprefix(_BOM)
    text = raw.replace("\r\n", "\n").replace("\r", "\n")
    line_end = "\r\n" if "\r\n" in raw else "\r" if "\r" in raw else "\n"
    return text.removesuffix("\n"), _Form(line_end, text.endswith("\n"))
