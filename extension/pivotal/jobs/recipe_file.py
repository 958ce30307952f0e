"""The recipe inside a file that was trained: a network's or an embedding's."""

from __future__ import annotations

import json
import struct
from pathlib import Path

from pivotal.config.build import typed_path
from pivotal.config.imports.file_metadata import read_metadata
from pivotal.config.imports.rules import Imported
from pivotal.errors import OptionError
from pivotal.hosts.protocol import Folders

KEY = "recipe file"
_LARGEST_HEADER = 100_000_000  # bytes, as the safetensors library has it


def recipe_in(name: str, folders: Folders) -> Imported:
    """The run that made a file, as options.

    Args:
        name: a path, or the name of a file of the host's LoRA or embeddings folder, with or without its suffix.

    Raises:
        OptionError: under the key ``recipe file``: there is no such file, or no recipe in it.
    """
    path = _found(name, folders)
    found = read_metadata(_metadata(path))
    if found is None:
        raise OptionError({KEY: f"{path.name} says nothing of how it was trained; its trainer wrote none, or it was stripped."})
    return found


def _found(name: str, folders: Folders) -> Path:
    try:
        given = typed_path(name)
    except ValueError as error:
        raise OptionError({KEY: str(error)}) from error
    if not given.name:
        raise OptionError({KEY: "Name a LoRA or an embedding, or give its whole path."})
    tried = [given] if given.is_absolute() else [
        folder / f"{given}{suffix}" for folder in (folders.loras, folders.embeddings) for suffix in ("", ".safetensors")]
    for path in tried:
        if path.is_file():
            return path
    raise OptionError({KEY: f"There is no file {str(given)!r} in {folders.loras} or {folders.embeddings}; give its whole path."
                       if not given.is_absolute() else f"{given} does not exist."})


def _metadata(path: Path) -> dict[str, str]:
    """Of a safetensors file; its tensors are not read."""
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > min(_LARGEST_HEADER, path.stat().st_size):
                raise ValueError("its header has an impossible length")
            header = json.loads(file.read(length))
        metadata = header.get("__metadata__", {}) if isinstance(header, dict) else {}
        return {str(key): str(value) for key, value in metadata.items()}
    except (struct.error, ValueError, RecursionError, AttributeError) as error:
        raise OptionError({KEY: f"{path.name} is no whole .safetensors file ({error}); others hold no recipe."}) from error
    except OSError as error:
        raise OptionError({KEY: f"{path} cannot be read: {error.strerror or error}."}) from error
