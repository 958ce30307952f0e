"""Tensors as the bytes of a safetensors file, one after another: a state may be larger than the memory that is left."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from pivotal.errors import FormatError

_NAMES = {torch.int64: "I64", torch.float64: "F64", torch.float32: "F32", torch.int32: "I32", torch.bfloat16: "BF16",
          torch.float16: "F16", torch.int16: "I16", torch.float8_e4m3fn: "F8_E4M3", torch.float8_e5m2: "F8_E5M2",
          torch.int8: "I8", torch.uint8: "U8", torch.bool: "BOOL"}
_ORDER = {dtype: place for place, dtype in enumerate(_NAMES)}  # the library's: wide ones first, so that each lies aligned


def tensor_pieces(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> Iterator[bytes | memoryview]:
    """A safetensors file piece by piece; the same input gives the same bytes, whatever its order.

    The library's `save` holds the file several times in memory, and writes metadata in an order of its own at each call.

    Raises:
        FormatError: a tensor's number format has no name there.
    """
    for name, tensor in tensors.items():
        if tensor.dtype not in _NAMES:
            raise FormatError(f"{name}: numbers of {tensor.dtype} cannot be written to a safetensors file.")
    names = sorted(tensors, key=lambda name: (_ORDER[tensors[name].dtype], name))
    yield header_bytes(_places(tensors, names) | {"__metadata__": dict(metadata)})
    for name in names:
        yield raw_bytes(tensors[name])


def raw_bytes(tensor: Tensor) -> memoryview:
    """A tensor's numbers, of any format, as they lie in memory; no copy of what is on the CPU in one piece."""
    return memoryview(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())


def header_bytes(header: Mapping[str, Any]) -> bytes:
    """What a safetensors file begins with: the header's length, and the header, sorted."""
    ordered = dict(sorted(header.items())) | {"__metadata__": dict(sorted(header["__metadata__"].items()))}
    text = json.dumps(ordered, separators=(",", ":"), ensure_ascii=False).encode("utf-8")
    text += b" " * (-len(text) % 8)  # readers map the data, which must begin at a multiple of 8
    return struct.pack("<Q", len(text)) + text


def _places(tensors: Mapping[str, Tensor], names: list[str]) -> dict[str, Any]:
    """Each tensor's format, shape, and where its bytes begin and end behind the header."""
    found, at = {}, 0
    for name in names:
        tensor = tensors[name]
        end = at + tensor.numel() * tensor.element_size()
        found[name] = {"dtype": _NAMES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [at, end]}
        at = end
    return found
