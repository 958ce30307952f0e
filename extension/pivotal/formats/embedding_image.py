"""Embeddings in a picture, as AUTOMATIC1111 makes and reads them (modules/textual_inversion/image_embedding.py, 1.10.1).

The same JSON lies there twice: base64 in the PNG's text ``sd-ti-embedding``, and, compressed, in the low four bits of
stripes left and right of the picture, which survives a site that strips texts. A column of zeros parts them from it.
"""

from __future__ import annotations

import base64
import io
import json
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from pivotal.errors import FormatError

SUFFIXES = (".png", ".webp")
TEXT = "sd-ti-embedding"
MARK = "TORCHTENSOR"
CHANNELS = 3
LARGEST = 256 * 2**20  # bytes of JSON
_PAPER = (128, 128, 128)
_ZLIB = 0x78  # the first byte of what zlib compresses
_FIRST = 0xDD  # the mask of a first byte's two halves


def read_image(path: Path) -> dict[str, Any]:
    """The dictionary hidden in a picture, with tensors.

    Raises:
        FormatError: there is none, or the picture is damaged.
    """
    try:
        with Image.open(path) as image:
            text = getattr(image, "text", {}).get(TEXT)
            data = base64.b64decode(text) if text else _unwoven(np.asarray(image.convert("RGB")))
        content = json.loads(data, object_hook=_tensor) if data else None
    except (UnidentifiedImageError, OSError, EOFError, ValueError, LookupError, TypeError, SyntaxError, RecursionError,
            struct.error, zlib.error, Image.DecompressionBombError) as error:
        raise FormatError(f"{path.name} is a damaged picture, or its embedding is: {error}") from error
    if not isinstance(content, Mapping):
        raise FormatError(f"{path.name} is a picture without an embedding in it.")
    return dict(content)


def image_bytes(content: Mapping[str, Any], picture: Image.Image | None = None) -> bytes:
    """A PNG with `content` (texts, numbers, tensors) in its text and in its pixels.

    Args:
        picture: what is seen; None: a grey square.
    """
    picture = (picture or Image.new("RGB", (512, 512), _PAPER)).convert("RGB")
    data = json.dumps(content, default=_plain).encode("utf-8")
    packed = np.frombuffer(zlib.compress(data, 9), np.uint8)
    height = picture.size[1]
    rows = -(-len(packed) // (height * CHANNELS))
    packed = np.resize(packed, height * rows * CHANNELS).reshape(height, rows, CHANNELS)
    black = np.zeros((height, 1, CHANNELS), np.uint8)
    # 0x10: no pixel of a stripe is black, for a reader cuts off black edges.
    stripes = [(nibbles ^ _mask(nibbles.shape)) | 0x10 for nibbles in (packed & 0x0F, packed >> 4)]
    woven = np.concatenate([stripes[0], black, np.asarray(picture), black, stripes[1]], axis=1)
    text = PngInfo()
    text.add_text(TEXT, base64.b64encode(data).decode("ascii"))
    file = io.BytesIO()
    Image.fromarray(woven).save(file, "PNG", pnginfo=text)
    return file.getvalue()


def _unwoven(pixels: np.ndarray) -> bytes | None:
    """The JSON in the pixels' low bits, None where there are no two black columns to part it from the picture.

    Args:
        pixels: (height, width, 3) bytes.
    """
    bright = (pixels > 0).all(axis=2)
    if not bright.any():
        return None
    columns, rows = np.flatnonzero(bright.any(axis=0)), np.flatnonzero(bright.any(axis=1))
    low = pixels[rows[0]:rows[-1] + 1, columns[0]:columns[-1] + 1] & 0x0F
    dark = np.flatnonzero(low.sum(axis=(0, 2)) == 0)
    if len(dark) < 2:
        return None
    left, right = low[:, :dark[0]], low[:, dark[-1] + 1:]
    if left.shape != right.shape or not left.size:
        return None
    if (right[0, 0, 0] << 4 | left[0, 0, 0]) ^ _FIRST != _ZLIB:
        return None  # an ordinary picture that happens to have black columns
    joined = (right ^ _mask(right.shape)) << 4 | left ^ _mask(left.shape)
    reader = zlib.decompressobj()
    try:
        return reader.decompress(joined.tobytes(), LARGEST)
    except zlib.error:
        return None


def _mask(shape: tuple[int, ...]) -> np.ndarray:
    """Low four bits of x -> 1664525 x + 1013904223 (mod 2^32), modulo 255 (Numerical Recipes' generator, seed 0)."""
    count, value, drawn = int(np.prod(shape)), 0, []
    for _ in range(count):
        value = (value * 1664525 + 1013904223) % 2**32
        drawn.append(value % 255 & 0x0F)
    return np.array(drawn, np.uint8).reshape(shape)


def _tensor(entry: dict[str, Any]) -> Any:
    return torch.tensor(entry[MARK], dtype=torch.float32) if MARK in entry else entry


def _plain(value: Any) -> Any:
    if isinstance(value, Tensor):
        return {MARK: value.detach().cpu().tolist()}
    raise TypeError(f"{type(value).__name__} has no place in JSON")
