"""Masks beside images, as training reads them: white is learned, black is not."""

from __future__ import annotations

import binascii
import io
from base64 import b64decode
from pathlib import Path

import numpy as np
from PIL import Image

from pivotal.data.headers import upright_size
from pivotal.data.images import READ_ERRORS, open_image, upright_rgb
from pivotal.errors import DatasetError
from pivotal.formats.atomic import write_bytes
from pivotal.tools.dataset.places import Place

LONGEST_SIDE = 4096  # px of a mask; one of a larger image is smaller, and enlarged in training
_MOST_BYTES = 64_000_000  # of a painted mask as it comes in
_PNG = b"\x89PNG\r\n\x1a\n"


def mask_size(size: tuple[int, int]) -> tuple[int, int]:
    """Width and height of the mask of an image of `size` (width, height)."""
    scale = min(1.0, LONGEST_SIDE / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def read_image(path: Path) -> Image.Image:
    """The image in `path`, upright, RGB.

    Raises:
        DatasetError: it cannot be read.
    """
    try:
        with open_image(path) as opened:
            return upright_rgb(opened)
    except READ_ERRORS as error:
        raise DatasetError(f"{path.name} cannot be read: {error}. Repair it or take it out.") from error


def read_mask_file(path: Path, size: tuple[int, int]) -> np.ndarray | None:
    """The mask in `path` at `size` (width, height): (height, width) in 0..1; None when there is none.

    Raises:
        DatasetError: it cannot be read.
    """
    if not path.exists():
        return None
    try:
        with open_image(path) as opened:
            mask = opened.convert("L")
    except READ_ERRORS as error:
        raise DatasetError(f"{path.name} cannot be read: {error}. Repair it or delete it.") from error
    if mask.size != size:
        mask = mask.resize(size, Image.Resampling.BILINEAR)
    return np.asarray(mask, dtype=np.float32) / 255


def write_mask(path: Path, mask: np.ndarray) -> None:
    """`mask`, (height, width) in 0..1, as a PNG of 8 bit gray.

    Raises:
        DatasetError: it cannot be written.
    """
    _write(path, Image.fromarray((mask.clip(0, 1) * 255 + 0.5).astype(np.uint8)))


def save_painted(place: Place, name: str, png: str) -> Path:
    """Writes what was painted over an image.

    Args:
        png: a PNG in base64, of `mask_size` of the image; how red each pixel is is what counts.

    Returns: the mask's path.

    Raises:
        DatasetError: it is no such PNG, or cannot be written.
    """
    path = place.mask(name)
    try:
        data = b64decode(png, validate=True) if len(png) <= _MOST_BYTES else b""
    except (binascii.Error, ValueError):
        data = b""
    if not data.startswith(_PNG):
        raise DatasetError("The mask must be a PNG in base64.")
    wanted = mask_size(read_size(place.image(name)))
    try:
        with Image.open(io.BytesIO(data), formats=["PNG"]) as opened:
            if opened.size != wanted:  # before anything is decoded
                raise DatasetError(f"The mask has {opened.width}x{opened.height} px; for {name} it must have "
                                   f"{wanted[0]}x{wanted[1]}.")
            mask = opened.convert("RGB").getchannel("R")
    except READ_ERRORS as error:
        raise DatasetError(f"The mask cannot be read: {error}.") from error
    _write(path, mask)
    return path


def read_size(path: Path) -> tuple[int, int]:
    """Width and height of the upright image.

    Raises:
        DatasetError: it cannot be read.
    """
    try:
        with open_image(path) as opened:
            height, width = upright_size(opened)
    except READ_ERRORS as error:
        raise DatasetError(f"{path.name} cannot be read: {error}. Repair it or take it out.") from error
    return width, height


def delete_mask(place: Place, name: str) -> None:
    """Raises DatasetError when it cannot be deleted; there may be none."""
    path = place.mask(name)
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise DatasetError(f"{path.name} cannot be deleted: {error.strerror or error}.") from error


def _write(path: Path, mask: Image.Image) -> None:
    buffer = io.BytesIO()
    mask.save(buffer, "PNG", optimize=True)
    try:
        write_bytes(path, buffer.getvalue())
    except OSError as error:
        raise DatasetError(f"{path.name} cannot be written: {error.strerror or error}.") from error
