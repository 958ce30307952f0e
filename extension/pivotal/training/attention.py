"""Which of torch's kernels compute attention."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

import torch

Attention = Literal["auto", "flash", "efficient", "math"]


@contextmanager
def attention(kind: Attention) -> Iterator[None]:
    """While it lasts, `scaled_dot_product_attention` uses that kernel, and math where that does not suit (formats, masks).

    The switches belong to the whole process, and a host's pictures depend on them: on exit they are as they were.
    """
    if kind == "auto":
        yield
        return
    switches = _switches()
    before = {name: is_on() for name, (is_on, _) in switches.items()}
    for name, (_, switch) in switches.items():
        switch(name in (kind, "math"))
    try:
        yield
    finally:
        for name, (_, switch) in switches.items():
            switch(before[name])


def _switches() -> dict[str, tuple[Callable[[], bool], Callable[[bool], None]]]:
    """What tells whether a kernel may be used, and what sets it; they hold for the CPU's kernels, too.

    torch.nn.attention.sdpa_kernel does the same, but only from torch 2.3 on; AUTOMATIC1111 1.10.1 installs 2.1.2.
    """
    cuda = torch.backends.cuda
    found = {"flash": (cuda.flash_sdp_enabled, cuda.enable_flash_sdp),
             "efficient": (cuda.mem_efficient_sdp_enabled, cuda.enable_mem_efficient_sdp),
             "math": (cuda.math_sdp_enabled, cuda.enable_math_sdp)}
    if hasattr(cuda, "enable_cudnn_sdp"):  # torch >= 2.5
        found["cudnn"] = (cuda.cudnn_sdp_enabled, cuda.enable_cudnn_sdp)
    return found
