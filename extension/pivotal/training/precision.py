"""The number format of the model's work."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from typing import Any, Literal

import torch

from pivotal.models.diffusion import DiffusionModel

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


@contextmanager
def tf32(allowed: bool | None) -> Iterator[None]:
    """While it lasts, fp32 matrices and convolutions on NVIDIA cards are multiplied in TF32 (10 bits of mantissa), or not.

    The switch belongs to the whole process, and a host's pictures depend on it: on exit it is as it was.

    Args:
        allowed: None leaves it as it is.
    """
    if allowed is None:
        yield
        return
    places = _tf32_switches()
    before = [getattr(place, name) for place, name, _ in places]
    for place, name, words in places:
        setattr(place, name, words[allowed])
    try:
        yield
    finally:
        for (place, name, _), value in zip(places, before, strict=True):
            setattr(place, name, value)


def _tf32_switches() -> list[tuple[Any, str, tuple[Any, Any]]]:
    """Where torch keeps it: object, attribute, and its values for off and on. From torch 2.9 on the older attributes must
    not be read once anybody has set the newer ones."""
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    if hasattr(cudnn, "conv"):
        return [(matmul, "fp32_precision", ("ieee", "tf32")), (cudnn.conv, "fp32_precision", ("ieee", "tf32"))]
    return [(matmul, "allow_tf32", (False, True)), (cudnn, "allow_tf32", (False, True))]


def vae_for(model: DiffusionModel, asked: Literal["auto", "as the host", "fp32"]) -> DiffusionModel:
    """`model` with a VAE in the format that is asked for: a copy, so that the lent one is not touched.

    `auto` takes fp32 for SDXL's VAE in fp16, whose activations overflow there (madebyollin/sdxl-vae-fp16-fix).
    """
    dtype = next(model.vae.parameters()).dtype
    breaks = model.family.name == "sdxl" and dtype == torch.float16
    if asked == "as the host" or dtype == torch.float32 or (asked == "auto" and not breaks):
        return model
    return replace(model, vae=copy.deepcopy(model.vae).float())


def gradient_scaler(device: torch.device, compute: torch.dtype) -> Any:
    """Keeps small fp16 gradients from vanishing; does nothing in other formats."""
    enabled = device.type == "cuda" and compute == torch.float16
    if hasattr(torch.amp, "GradScaler"):  # torch >= 2.3; before, only the one of torch.cuda
        return torch.amp.GradScaler(device.type, enabled=enabled)
    return torch.cuda.amp.GradScaler(enabled=enabled)
