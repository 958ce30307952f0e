"""The number format of the model's work."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal

import torch

Compute = Literal["auto", "fp32", "bf16", "fp16"]
_FORMATS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def compute_dtype(asked: Compute, device: torch.device, weights: torch.dtype) -> torch.dtype:
    """The format to compute in. `auto`: on CUDA bf16, or fp16 where there is no bf16; elsewhere that of the weights."""
    if asked != "auto":
        return _FORMATS[asked]
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    return weights


def autocast(device: torch.device, compute: torch.dtype, weights: torch.dtype) -> AbstractContextManager[object]:
    """Computes in `compute` where that is not what the weights are in anyway."""
    if compute == weights:
        return nullcontext()
    return torch.autocast(device.type, dtype=compute, enabled=compute != torch.float32)


def gradient_scaler(device: torch.device, compute: torch.dtype) -> Any:
    """Keeps small fp16 gradients from vanishing; does nothing in other formats."""
    enabled = device.type == "cuda" and compute == torch.float16
    if hasattr(torch.amp, "GradScaler"):  # torch >= 2.3; before, only the one of torch.cuda
        return torch.amp.GradScaler(device.type, enabled=enabled)
    return torch.cuda.amp.GradScaler(enabled=enabled)
