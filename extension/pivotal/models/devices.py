"""In what devices differ: how tensors are sent there, and which of them know autocast."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache

import torch
from torch import Tensor

# CUDA copies pageable memory aside before the call returns, so that the source may go at once. Apple's devices do not, and get
# other numbers then (pytorch/pytorch issues 139550 and 189690); of others it is not known.
COPIES_ASIDE = ("cuda",)


def sent(tensor: Tensor, device: torch.device) -> Tensor:
    """`tensor` on `device`, where that can be without waiting for it to do all that it was asked before, as `Tensor.to` does."""
    return tensor.to(device, non_blocking=device.type in COPIES_ASIDE)


def without_autocast(device: torch.device) -> AbstractContextManager[object]:
    """Computes in the formats of the tensors, also where the caller does not."""
    return torch.autocast(device.type, enabled=False) if has_autocast(device.type) else nullcontext()


@lru_cache(maxsize=8)
def has_autocast(kind: str) -> bool:
    """Whether torch has it for devices of a kind; 2.1, which A1111 has, only for "cpu", "cuda" and "xpu"."""
    try:
        torch.autocast(kind, enabled=False)
    except (RuntimeError, AssertionError):  # the latter of backends that come from outside
        return False
    return True


def is_cast(device: torch.device) -> bool:
    """Whether autocast is on for `device`, so that layers bring whatever they are given to the format of the work."""
    if not has_autocast(device.type):
        return False
    try:
        return torch.is_autocast_enabled(device.type)
    except TypeError:  # torch below 2.4 can only be asked of CUDA
        return device.type == "cuda" and torch.is_autocast_enabled()
