"""From an image file to the pixels the VAE takes."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

# What Pillow raises for files that are no images, are cut short, lie about themselves, or are far too large.
READ_ERRORS = (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError, Image.DecompressionBombWarning)


@dataclass(frozen=True)
class Crop:
    """How an image became a square, in pixels; height first, as SDXL's size conditioning has it."""

    original: tuple[int, int]
    offset: tuple[int, int]  # top, left of the square in the scaled image


@contextmanager
def open_image(path: Path) -> Iterator[Image.Image]:
    """The image in `path`, not decoded yet; one over Pillow's size limit is refused before it is."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        with Image.open(path) as image:
            yield image


def upright_rgb(image: Image.Image) -> Image.Image:
    """`image` turned as its EXIF says, on white where it is transparent, RGB."""
    image = ImageOps.exif_transpose(image)
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    if image.mode.startswith("I"):  # 16 bit gray; convert() would cut it off at 255
        array = np.asarray(image).astype(np.float32)
        return Image.fromarray((array / max(float(array.max()), 1.0) * 255).astype(np.uint8)).convert("RGB")
    return image.convert("RGB")


def square(image: Image.Image, side: int) -> tuple[Image.Image, Crop]:
    """`image` scaled so that its shorter edge is `side`, and its middle cut out: (side, side) px."""
    width, height = image.size
    scale = side / min(width, height)
    scaled = (max(side, round(width * scale)), max(side, round(height * scale)))
    if scaled != image.size:
        image = image.resize(scaled, Image.Resampling.LANCZOS)
    left, top = (scaled[0] - side) // 2, (scaled[1] - side) // 2
    return image.crop((left, top, left + side, top + side)), Crop((height, width), (top, left))


def read_pixels(path: Path, side: int) -> tuple[Tensor, Crop]:
    """(3, side, side) in -1..1, and where they lay in the image.

    Raises:
        one of READ_ERRORS.
    """
    with open_image(path) as image:
        cut, crop = square(upright_rgb(image), side)
    array = np.asarray(cut, dtype=np.float32) / 127.5 - 1
    return torch.from_numpy(array).permute(2, 0, 1).contiguous(), crop
