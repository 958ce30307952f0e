"""What a tool writes: all of its files or none, never over a file that was not meant to be replaced."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pivotal.config.build import typed_path
from pivotal.errors import FormatError, OptionError
from pivotal.formats.atomic import write_bytes


@dataclass(frozen=True)
class Report:
    """What a tool did."""

    files: tuple[Path, ...]
    text: str  # sentences, to be shown


def path_of(key: str, text: str, suffix: str = "") -> Path:
    """A path that was typed.

    Args:
        key: of the option, for the error.
        suffix: added to a name that has none of the known ones: ".safetensors".

    Raises:
        OptionError: nothing was typed, or what can be no path.
    """
    if not text.strip():
        raise OptionError({key: "needs a path"})
    try:
        path = typed_path(text)
    except ValueError as error:
        raise OptionError({key: str(error)}) from error
    return path.with_name(path.name + suffix) if suffix and path.suffix.lower() != suffix else path


def refuse_existing(path: Path, replace: bool) -> None:
    """Raises FormatError when something is in the way that must not be replaced; before any work is done."""
    if path.exists() and not replace:
        raise FormatError(f"{path} exists, and nothing was written. Choose another name, or set replace.")
    if path.is_dir():
        raise FormatError(f"{path} is a folder; give a file's name.")


def write(files: Mapping[Path, bytes], replace: bool) -> tuple[Path, ...]:
    """Writes all `files`; their paths.

    Raises:
        FormatError: one of them exists, or cannot be written.
    """
    for path in files:
        refuse_existing(path, replace)
    for path, data in files.items():
        try:
            write_bytes(path, data)
        except OSError as error:
            raise FormatError(f"{path} cannot be written: {error.strerror or error}.") from error
    return tuple(files)
