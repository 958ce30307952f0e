"""Tensors of a user's file, without running anything that is in it."""

from __future__ import annotations

import io
import pickle
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from pivotal.errors import FormatError

# What torch's reader of pickles raises on bytes at random, as seen on some thousands of damaged files.
_BROKEN = (RuntimeError, pickle.UnpicklingError, struct.error, EOFError, ValueError, LookupError, TypeError, AttributeError,
           AssertionError, OverflowError, MemoryError)


def checked_size(path: Path, largest: int, what: str) -> int:
    """Bytes of `path`.

    Args:
        largest: bytes that a file of its kind may have.
        what: that kind, for the error: "an embedding".

    Raises:
        FormatError: it is missing, empty, or too big to be one.
    """
    try:
        size = path.stat().st_size
    except OSError as error:
        raise FormatError(f"{path} cannot be read: {error.strerror or error}") from error
    if path.is_dir():
        raise FormatError(f"{path} is a folder; give the file in it.")
    if not size:
        raise FormatError(f"{path.name} is empty (0 bytes); it was cut off when it was written or downloaded.")
    if size > largest:
        raise FormatError(f"{path.name} has {size / 2**20:.0f} MB; {what} has at most {largest / 2**20:.0f}. "
                          "Is it a checkpoint?")
    return size


def read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Every tensor of a safetensors file, and its metadata.

    The tensors are read, not mapped: a mapped file that is overwritten later changes under its reader.

    Raises:
        FormatError: it is damaged, or no safetensors file.
    """
    try:
        with safe_open(str(path), framework="pt", device="cpu") as opened:
            tensors = {name: opened.get_tensor(name).clone() for name in opened.keys()}
            return tensors, dict(opened.metadata() or {})
    except (SafetensorError, ValueError, KeyError) as error:
        raise FormatError(f"{path.name} is not a whole safetensors file: {error}") from error
    except OSError as error:
        raise FormatError(f"{path} cannot be read: {error.strerror or error}") from error


def read_pickled(path: Path) -> Mapping[Any, Any]:
    """What torch.save wrote: tensors, numbers, texts and collections of them, nothing that runs.

    Raises:
        FormatError: it would have to run code, is damaged, or holds no names.
    """
    # torch.load itself is replaced by some hosts (AUTOMATIC1111 1.10.1: returns None on suspicion; Forge: renames the
    # user's file); the function in torch.serialization is not, and from memory it has no file to rename.
    try:
        content = torch.serialization.load(io.BytesIO(path.read_bytes()), map_location="cpu", weights_only=True)
    except OSError as error:
        raise FormatError(f"{path} cannot be read: {error.strerror or error}") from error
    except _BROKEN as error:
        raise FormatError(f"{path.name} cannot be read without running code that is in it, or is damaged; "
                          f"convert it to .safetensors first ({' '.join(str(error).split())[:120]}).") from error
    if not isinstance(content, Mapping):
        raise FormatError(f"{path.name} holds {type(content).__name__}; expected named tensors.")
    return content
