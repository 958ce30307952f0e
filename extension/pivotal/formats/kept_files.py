"""Encoded images and captions kept on disk: written with a sum, when each was used last, and which of them go when room is
wanted."""

from __future__ import annotations

import contextlib
import os
import re
import time
import zlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from pivotal.errors import FormatError
from pivotal.formats.atomic import write_tensors
from pivotal.formats.reading import read_safetensors
from pivotal.formats.tensor_bytes import raw_bytes

IN_USE = 3600.0  # s since the last use; so long a file may be one that a run of another program reads
DAY = 24 * 3600.0  # s
GB = 10**9  # bytes, as disks are sold
_SUM = "pivotal.crc32"
_NAME = re.compile(r"[0-9a-f]{64}\.safetensors")  # a hash of what the content depends on; other files are not ours


@dataclass(frozen=True)
class Cleaned:
    """What was deleted, and what stays."""

    removed: int  # files
    freed: int  # bytes
    kept: int  # files
    size: int  # bytes of these


@dataclass(frozen=True)
class _Kept:
    path: Path
    size: int
    used: float  # seconds of the epoch


def put_kept(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Writes `tensors`, whole or not at all, with a sum by which `get_kept` sees damage."""
    write_tensors(path, tensors, {_SUM: _sum(tensors)})


def get_kept(path: Path) -> dict[str, Tensor] | None:
    """What `put_kept` wrote, used now; None when it is missing or damaged, which costs making it anew."""
    if not path.is_file():
        return None
    try:
        tensors, metadata = read_safetensors(path)
    except FormatError:
        return None
    if metadata.get(_SUM) != _sum(tensors):
        return None
    mark_used(path)
    return tensors


def _sum(tensors: Mapping[str, Tensor]) -> str:
    total = 0
    for name in sorted(tensors):
        total = zlib.crc32(raw_bytes(tensors[name]), zlib.crc32(name.encode(), total))
    return f"{total:08x}"


def mark_used(path: Path) -> None:
    """Notes in the file's time that it is used now; not more often than is needed, and not where it cannot be written."""
    with contextlib.suppress(OSError):
        if time.time() - path.stat().st_mtime > IN_USE / 4:
            os.utime(path)


def clean(folders: Sequence[Path], *, days: float | None, gb: float | None, in_use: Collection[Path] = ()) -> Cleaned:
    """Deletes what of `folders` was not used for `days`; then, of what is more than `gb`, what was not used longest.

    Args:
        in_use: files that stay, and count into the room; so do those that were used within the last hour.
    """
    now, files = time.time(), sorted((file for folder in folders for file in _kept(folder)), key=lambda file: file.used)
    size, gone, freed = sum(file.size for file in files), 0, 0
    for file in files:
        is_old = days is not None and now - file.used > days * DAY
        is_too_much = gb is not None and size - freed > gb * GB
        if (is_old or is_too_much) and now - file.used > IN_USE and file.path not in in_use and _removed(file.path):
            gone, freed = gone + 1, freed + file.size
    return Cleaned(gone, freed, len(files) - gone, size - freed)


def _kept(folder: Path) -> Iterator[_Kept]:
    if not folder.is_dir():
        return
    with os.scandir(folder) as entries:
        for entry in entries:
            if _NAME.fullmatch(entry.name) and entry.is_file(follow_symlinks=False):
                with contextlib.suppress(FileNotFoundError):  # another program's cleaning was faster
                    stat = entry.stat()
                    yield _Kept(Path(entry.path), stat.st_size, stat.st_mtime)


def _removed(path: Path) -> bool:
    """Whether it is gone now; Windows keeps a file that somebody reads."""
    try:
        path.unlink()
    except OSError:
        return False
    return True


def size_words(size: int) -> str:
    """Bytes as one says them: ``1.2 GB``, ``34 MB``."""
    if size >= GB:
        return f"{size / GB:.1f} GB"
    return f"{size / 10**6:.0f} MB" if size >= 10**6 else "less than 1 MB"
