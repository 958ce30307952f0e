"""Writes that leave either the old file or the new one, whatever happens in between."""

from __future__ import annotations

import os
import platform
import re
import time
import uuid
import zlib
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

import psutil
from torch import Tensor

from pivotal.formats.tensor_bytes import tensor_pieces

SUFFIX = ".pivotal-tmp"  # no host reads files that end so, even in its embeddings folder
OWNER = re.compile(rf"\.(?P<machine>[0-9a-f]{{8}})-(?P<process>\d+)-[0-9a-f]{{8}}{re.escape(SUFFIX)}$")
ABANDONED_S = 600.0  # without a byte written, of a process on another machine or one whose number may be somebody else's by now
PATIENCE_S, LOOKS_EVERY_S = 2.0, 0.1  # for Windows, where a virus scanner or an indexer opens what is new or old for a moment


def write_bytes(path: Path, data: bytes) -> None:
    """Replaces `path` by `data`, or leaves it as it was: see `write_pieces`."""
    write_pieces(path, (data,))


def write_pieces(path: Path, pieces: Iterable[bytes | memoryview]) -> None:
    """Replaces `path` by `pieces`, one after another: a temporary file beside it, flushed to the disk, then renamed over it.

    Raises:
        OSError: the disk is full, the folder cannot be written; `path` is as it was and nothing is left behind.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{_machine()}-{os.getpid()}-{uuid.uuid4().hex[:8]}{SUFFIX}")
    try:
        with temporary.open("xb") as file:
            for piece in pieces:
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())
        _replace(temporary, path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            error.filename, error.filename2 = str(path), None  # for whoever tells of it; the temporary one says nothing
        raise
    _sync_folder(path.parent)


def _replace(temporary: Path, path: Path) -> None:
    """The file is closed by now: Windows refuses to replace by an open one."""
    latest = time.monotonic() + PATIENCE_S
    while True:
        try:
            os.replace(temporary, path)
            return
        except PermissionError:
            if time.monotonic() > latest:
                raise
        time.sleep(LOOKS_EVERY_S)


def _sync_folder(folder: Path) -> None:
    """The rename itself reaches the disk only with the folder; Windows has no such call and needs none."""
    if os.name == "nt":
        return
    with suppress(OSError):  # some network file systems cannot, nor who may not list it; the file itself is safe
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
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
    """Deletes the temporary files that a killed process left in `folder`, if `deep` in all folders in it, too; returns them.

    Those that another run, a tool or a second WebUI may be writing stay: of a process that is there, or on another machine, until
    nothing was written for ten minutes.
    """
    found = [path for path in (folder.rglob if deep else folder.glob)(f".*{SUFFIX}") if _is_abandoned(path)]
    for path in found:
        path.unlink(missing_ok=True)
    return found


def _machine() -> str:
    """Tells computers, and containers, on one network drive apart: each has process numbers of its own."""
    return f"{zlib.crc32(platform.node().encode()):08x}"


def _is_abandoned(path: Path) -> bool:
    owner = OWNER.search(path.name)
    if owner and owner["machine"] == _machine() and not psutil.pid_exists(int(owner["process"])):
        return True
    try:
        return path.is_file() and abs(time.time() - path.stat().st_mtime) > ABANDONED_S
    except OSError:  # it has got its name meanwhile
        return False
