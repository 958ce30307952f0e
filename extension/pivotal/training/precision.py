"""The number format of the model's work."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from pivotal.errors import OptionError
from pivotal.models.devices import has_autocast
from pivotal.models.diffusion import DiffusionModel

Compute = Literal["auto", "fp32", "bf16", "fp16"]
LARGE = 100_000_000  # parameters of a UNet; in a small one starting an operation takes longer than the operation
_FORMATS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def compute_dtype(asked: Compute, device: torch.device, weights: torch.dtype) -> torch.dtype:
    """The format to compute in. `auto`: on CUDA bf16, or fp16 where there is no bf16; elsewhere that of the weights, but fp32
    for fp16, whose small gradients only CUDA's scaler keeps.

    Raises:
        OptionError: this torch cannot compute so on `device`.
    """
    if asked != "auto":
        if casts(_FORMATS[asked], weights) and not has_autocast(device.type):
            raise OptionError({"precision.compute": f"PyTorch {torch.__version__} computes on {device.type} in the weights' own "
                                                    "format or in fp32 alone; take auto"})
        return _FORMATS[asked]
    if device.type == "cuda":
        return torch.bfloat16 if card_has_bf16(device) else torch.float16
    return torch.float32 if weights == torch.float16 else weights


def card_has_bf16(device: torch.device) -> bool:
    """Whether the graphics card computes in bf16 itself: NVIDIA's from Ampere on (RTX 30), and AMD's.

    `torch.cuda.is_bf16_supported` says yes of older ones, too, from torch 2.3 on: they do it by way of fp32, slowly.
    """
    return torch.version.hip is not None or torch.cuda.get_device_capability(device) >= (8, 0)


def with_fp32(model: DiffusionModel, asked: Compute) -> DiffusionModel:
    """`model` with the weights of UNet and text encoders in fp32, if that is the format to compute in; copies, where they are
    not. Over narrower weights there is no fp32 work: torch has no autocast to it.

    Whoever lent the modules gets them back as they were (models/lend.py); other hosts' tensors are not ours to begin with.
    """
    if compute_dtype(asked, model.device, model.dtype) == torch.float32:
        for module in (model.unet, *(encoder.module for encoder in model.text_encoders)):
            module.float()
    return model


def with_bf16(model: DiffusionModel, asked: Compute) -> DiffusionModel:
    """`model` with its UNet in bf16 where `auto` is asked for, it is large and in fp32, and the processor has bf16 itself: a
    step takes half the time then (README). The tensors are new, the lent ones stay; whoever lent the modules gets them back.

    Text encoders and VAE stay as they are: they take little of a run's time, and vectors begin as rows of their table.
    """
    size = sum(parameter.numel() for parameter in model.unet.parameters())
    if asked == "auto" and gains_by_bf16(model.device, model.dtype, size):
        for module in model.unet.modules():
            for register in (module._parameters, module._buffers):
                for name, tensor in register.items():
                    if tensor is not None and tensor.is_floating_point():
                        narrow = tensor.detach().to(torch.bfloat16)
                        register[name] = nn.Parameter(narrow, requires_grad=False) if name in module._parameters else narrow
    return model


def gains_by_bf16(device: torch.device, weights: torch.dtype, size: int) -> bool:
    """Whether a UNet of `size` parameters computes faster in bf16 than in the fp32 that it has."""
    return device.type == "cpu" and weights == torch.float32 and size >= LARGE and processor_has_bf16()


@lru_cache(maxsize=1)
def processor_has_bf16() -> bool:
    """Whether the processor has instructions for bf16 (AVX-512 BF16, AMX, Armv8.6); torch imitates it on others, slowly."""
    if any(getattr(torch.cpu, name, bool)() for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported")):
        return True  # where torch tells, from 2.4 on
    try:
        told = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return not {"avx512_bf16", "amx_bf16", "bf16"}.isdisjoint(told.split())


def casts(compute: torch.dtype, weights: torch.dtype) -> bool:
    """Whether each operation brings the weights to the format of the work; for fp32 they are brought there before
    (`with_fp32`)."""
    return compute not in (weights, torch.float32)


def autocast(device: torch.device, compute: torch.dtype, weights: torch.dtype) -> AbstractContextManager[object]:
    """Computes in `compute` where that is not what the weights are in anyway."""
    return torch.autocast(device.type, dtype=compute) if casts(compute, weights) else nullcontext()


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
