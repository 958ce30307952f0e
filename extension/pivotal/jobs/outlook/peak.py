"""The most memory that is held at once while something is done."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from types import TracebackType

import torch

_EVERY = 0.01  # s between two looks at the memory of the process
_STATM = Path("/proc/self/statm")


class Peak:
    """Inside, the memory of `device` is watched; afterwards `bytes` is the most beyond what was held before.

    On CUDA it is what torch has allocated. On a CPU it is the memory of the process, which is known on Linux only; what an
    earlier run had left free in it does not count, so a second look may see less.
    """

    def __init__(self, device: torch.device):
        self.bytes: int | None = None
        self._device, self._ended = device, threading.Event()
        self._most = self._before = 0
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Peak:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
            torch.cuda.reset_peak_memory_stats(self._device)
            self._before = torch.cuda.memory_allocated(self._device)
        elif self._device.type == "cpu" and _STATM.exists():
            self._before = self._most = _resident()
            self._thread = threading.Thread(target=self._watch, name="pivotal-peak", daemon=True)
            self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
            self.bytes = torch.cuda.max_memory_allocated(self._device) - self._before
        elif self._thread is not None:
            self._ended.set()
            self._thread.join()
            self.bytes = self._most - self._before

    def _watch(self) -> None:
        while not self._ended.wait(_EVERY):
            self._most = max(self._most, _resident())
        self._most = max(self._most, _resident())


def _resident() -> int:
    return int(_STATM.read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
