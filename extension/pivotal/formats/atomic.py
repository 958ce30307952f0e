"""Writes that leave either the old file or the new one, whatever happens in between."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path

from torch import Tensor

from pivotal.formats.tensor_bytes import tensor_pieces

SUFFIX = ".pivotal-tmp"  # no host reads files that end so, even in its embeddings folder


def write_bytes(path: Path, data: bytes) -> None:
    """Replaces `path` by `data`, or leaves it as it was: see `write_pieces`."""
    write_pieces(path, (data,))


def write_pieces(path: Path, pieces: Iterable[bytes | memoryview]) -> None:
    """Replaces `path` by `pieces`, one after another: a temporary file beside it, flushed to the disk, then renamed over it.

    Raises:
        OSError: the disk is full, the folder cannot be written; `path` is as it was and nothing is left behind.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}{SUFFIX}")
    try:
        with temporary.open("xb") as file:
            for piece in pieces:
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)  # the file is closed by now: Windows refuses to replace by an open one
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """The rename itself reaches the disk only with the folder; Windows has no such call and needs none."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError:  # some network file systems cannot sync a folder; the file itself is safe
        pass
    finally:
        os.close(handle)


def write_text(path: Path, text: str) -> None:
    """`write_bytes`, UTF-8."""
    write_bytes(path, text.encode("utf-8"))


def tensors_to_bytes(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> bytes:
    """A safetensors file; the same input gives the same bytes."""
    return b"".join(tensor_pieces(tensors, metadata))


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """`write_bytes` of a safetensors file, of which no second copy is made in memory."""
    write_pieces(path, tensor_pieces(tensors, metadata))


def remove_leftovers(folder: Path, *, deep: bool = False) -> list[Path]:
    """Deletes the temporary files that a killed process left in `folder`, if `deep` in all folders in it, too; returns them."""
    found = [path for path in (folder.rglob if deep else folder.glob)(f".*{SUFFIX}") if path.is_file()]
    for path in found:
        path.unlink(missing_ok=True)
    return found
