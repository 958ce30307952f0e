"""What a file says of itself, without its tensors."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from pivotal.errors import FormatError

_BLOCK = 2**20  # bytes
_LARGEST_HEADER = 100 * 2**20  # bytes, as the safetensors library has it


@dataclass(frozen=True)
class Hashes:
    """The names by which users know a file; each is SHA-256 in hexadecimal digits."""

    whole: str  # of all bytes: AutoV2 is its beginning
    tensors: str  # of what follows a safetensors header, which A1111 and kohya call a LoRA by: AutoV3 is its beginning


def read_metadata(path: Path) -> dict[str, str]:
    """The metadata of a safetensors file; empty for one without, and for any file of another form."""
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if path.suffix.lower() != ".safetensors" or length > min(_LARGEST_HEADER, path.stat().st_size):
                return {}
            header = json.loads(file.read(length))
    except (OSError, ValueError, RecursionError):
        return {}
    found = header.get("__metadata__") if isinstance(header, dict) else None
    return {str(key): str(value) for key, value in found.items()} if isinstance(found, dict) else {}


def hashes_of(path: Path) -> Hashes:
    """The hashes of a safetensors file, read in pieces.

    Raises:
        FormatError: it cannot be read.
    """
    whole, tensors = hashlib.sha256(), hashlib.sha256()
    try:
        with path.open("rb") as file:
            length = file.read(8)
            header = file.read(min(int.from_bytes(length, "little"), _LARGEST_HEADER))
            whole.update(length + header)
            while block := file.read(_BLOCK):
                whole.update(block)
                tensors.update(block)
    except OSError as error:
        raise FormatError(f"{path} cannot be read: {error.strerror or error}") from error
    return Hashes(whole.hexdigest(), tensors.hexdigest())
