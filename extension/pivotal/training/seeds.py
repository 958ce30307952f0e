"""One seeded generator per purpose and moment; the global ones of torch, numpy and random are never touched.

A generator is a pure function of seed, purpose and position, so a run that is resumed draws what it would have drawn,
and a preview in between changes nothing.
"""

from __future__ import annotations

import hashlib

import torch


def generator(seed: int, purpose: str, position: int = 0) -> torch.Generator:
    """A CPU generator for `purpose` at `position`; CPU, so that every device sees the same numbers."""
    digest = hashlib.sha256(f"{seed}/{purpose}/{position}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)
