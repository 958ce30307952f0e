"""Embedding files of every trainer, read; and the one form that every host reads, written."""

from __future__ import annotations

import io
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from pivotal.errors import FormatError
from pivotal.formats.atomic import tensors_to_bytes

LARGEST = 64 * 2**20  # bytes; 75 vectors of SDXL in fp32 are 0.6 MB
SINGLE = ("emb_params", "emp_params")  # kohya and the hosts; OneTrainer (sic)
DOUBLE = ("clip_l", "clip_g")


def embedding_bytes(vectors: Sequence[Tensor], metadata: Mapping[str, str]) -> bytes:
    """The file's content: ``emb_params`` for one text encoder, ``clip_l`` and ``clip_g`` for SDXL's two, fp32.

    Args:
        vectors: one (count, width) tensor per text encoder.
    """
    names = SINGLE[:1] if len(vectors) == 1 else DOUBLE
    return tensors_to_bytes({name: tensor.float() for name, tensor in zip(names, vectors, strict=True)}, metadata)


def read_embedding(path: Path, encoders: int) -> tuple[Tensor, ...]:
    """The vectors of an embedding file, without running anything in it.

    Reads .safetensors, .pt and .bin of AUTOMATIC1111 (``string_to_param``), kohya (``emb_params``), OneTrainer
    (``emp_params``), diffusers and Invoke (``{token: tensor}``), and SDXL's ``clip_l`` + ``clip_g``.

    Args:
        encoders: how many text encoders the checkpoint has: 1, or 2 for SDXL.

    Returns: one (count, width) fp32 tensor per text encoder.

    Raises:
        FormatError: with what the file holds instead.
    """
    tensors = _tensors(path)
    names = DOUBLE if encoders == 2 else _single_name(path, tensors)
    missing = [name for name in names if name not in tensors]
    if missing:
        raise FormatError(f"{path.name} holds {', '.join(map(repr, list(tensors)[:4]))} but no {missing[0]!r}: it is not "
                          f"an embedding for {'SDXL' if encoders == 2 else 'SD 1 or SD 2'}.")
    found = tuple(_vectors(path, name, tensors[name]) for name in names)
    if len({len(tensor) for tensor in found}) > 1:
        raise FormatError(f"{path.name}: {' and '.join(DOUBLE)} have {' and '.join(str(len(t)) for t in found)} vectors; "
                          "they must have the same number.")
    return found


def _single_name(path: Path, tensors: Mapping[str, Any]) -> tuple[str, ...]:
    for name in SINGLE:
        if name in tensors:
            return (name,)
    if set(DOUBLE) <= set(tensors):
        raise FormatError(f"{path.name} is an embedding for SDXL (it holds clip_l and clip_g); "
                          "the checkpoint is SD 1 or SD 2.")
    if len(tensors) != 1:
        raise FormatError(f"{path.name} holds {len(tensors)} tensors ({', '.join(list(tensors)[:4])}); "
                          "an embedding for SD 1 or SD 2 holds one.")
    return tuple(tensors)


def _vectors(path: Path, name: str, tensor: Any) -> Tensor:
    if not isinstance(tensor, Tensor) or tensor.dim() not in (1, 2) or not tensor.is_floating_point():
        shape = tuple(tensor.shape) if isinstance(tensor, Tensor) else type(tensor).__name__
        raise FormatError(f"{path.name}: {name!r} is {shape}; expected (vectors, width) of floating point numbers.")
    vectors = tensor.detach().float().reshape(-1, tensor.shape[-1]).clone()
    if not len(vectors) or not torch.isfinite(vectors).all():
        raise FormatError(f"{path.name}: {name!r} is empty or holds values that are not finite numbers.")
    return vectors


def _tensors(path: Path) -> dict[str, Any]:
    try:
        size = path.stat().st_size
        if size > LARGEST:
            raise FormatError(f"{path.name} has {size / 2**20:.0f} MB; an embedding has at most a few. "
                              "Is it a checkpoint or a LoRA?")
        data = path.read_bytes()
    except OSError as error:
        raise FormatError(f"{path} cannot be read: {error.strerror or error}") from error
    if path.suffix.lower() == ".safetensors":
        try:
            return safetensors.torch.load(data)
        except (SafetensorError, ValueError, KeyError) as error:
            raise FormatError(f"{path.name} is not a whole safetensors file: {error}") from error
    return _pickled(path, data)


def _pickled(path: Path, data: bytes) -> dict[str, Any]:
    # torch.load itself is replaced by some hosts (AUTOMATIC1111 1.10.1: returns None on suspicion; Forge: renames the
    # user's file); the function in torch.serialization is not, and from memory it has no file to rename.
    try:
        content = torch.serialization.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except (RuntimeError, pickle.UnpicklingError, EOFError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise FormatError(f"{path.name} cannot be read without running code that is in it, or is damaged; "
                          f"convert it to .safetensors first ({' '.join(str(error).split())[:120]}).") from error
    if not isinstance(content, Mapping):
        raise FormatError(f"{path.name} holds {type(content).__name__}; expected named tensors.")
    if isinstance(content.get("string_to_param"), Mapping):
        content = content["string_to_param"]
    return {str(name): value for name, value in content.items() if isinstance(value, Tensor)}
