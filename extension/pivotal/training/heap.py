"""The C library's memory, kept from one step to the next."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

# glibc's malloc.h. Zero blocks mapped one by one and nothing given back at a free; then what glibc comes to by itself in a
# program that has freed a block of 32 MB, as every program with a model in it has.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -2, -3, -4
_KEEPING = {_MMAP_MAX: 0, _TRIM_THRESHOLD: -1, _TOP_PAD: 256 * 2**20}
_USUAL = {_MMAP_MAX: 65536, _MMAP_THRESHOLD: 32 * 2**20, _TRIM_THRESHOLD: 64 * 2**20, _TOP_PAD: 128 * 2**10}


@contextmanager
def kept_memory(device: str) -> Iterator[None]:
    """While it lasts, what a step on the CPU frees stays with the process, for the next step; on exit all of it is given back.

    glibc gives large blocks back to the kernel, which fills them with zeros when they are asked for again: 180,000 pages in
    each step of a model of SD 1.5's size, a sixth of its time. Other C libraries and devices are left as they are, and so is
    a process whose owner has settings of his own for this.
    """
    library = _glibc() if device == "cpu" else None
    if library is None or _has_own_settings():
        yield
        return
    for which, value in _KEEPING.items():
        library.mallopt(which, value)
    try:
        yield
    finally:
        for which, value in _USUAL.items():
            library.mallopt(which, value)
        library.malloc_trim(0)


def _glibc() -> Any:
    """The process's own C library, where it is glibc."""
    if sys.platform != "linux":
        return None
    library = ctypes.CDLL(None)
    return library if all(hasattr(library, name) for name in ("gnu_get_libc_version", "mallopt", "malloc_trim")) else None


def _has_own_settings() -> bool:
    return any(name.startswith("MALLOC_") for name in os.environ) or "glibc.malloc" in os.environ.get("GLIBC_TUNABLES", "")
