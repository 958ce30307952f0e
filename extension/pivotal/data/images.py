"""From an image file to the pixels the VAE takes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from pivotal.data.augment import Change, changed_fit, cut, recoloured
from pivotal.data.headers import upright_size
from pivotal.data.view import Fit, Size
from pivotal.errors import DatasetError

# What Pillow raises for files that are no images, are cut short, lie about themselves, or are far too large.
READ_ERRORS = (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError, Image.DecompressionBombWarning)


@contextmanager
def open_image(path: Path) -> Iterator[Image.Image]:
    """The image in `path`, not decoded yet; one over Pillow's size limit is refused before it is."""
    with Image.open(path) as image:
        # Pillow only warns up to twice the limit; and a filter for warnings would be everybody's, in all threads.
        if Image.MAX_IMAGE_PIXELS and image.width * image.height > Image.MAX_IMAGE_PIXELS:
            raise Image.DecompressionBombError(f"{image.width}x{image.height} px are more than Pillow's limit of "
                                               f"{Image.MAX_IMAGE_PIXELS} px")
        yield image


def upright_rgb(image: Image.Image) -> Image.Image:
    """`image` turned as its EXIF says, on white where it is transparent, RGB."""
    image = _in_eight_bits(ImageOps.exif_transpose(image))
    if _has_alpha(image):
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("RGB")


def _in_eight_bits(image: Image.Image) -> Image.Image:
    """Grey of 16 bits, or of floats from 0 to 1, as L; Pillow's own convert() cuts it off at 255. Every other image as it is."""
    if image.mode != "F" and not image.mode.startswith("I"):
        return image
    levels = np.nan_to_num(np.asarray(image).astype(np.float32)).clip(0)
    white = max(1.0 if image.mode == "F" else 65535.0, float(levels.max()))  # nothing says what is white where there is more
    return Image.fromarray((levels / white * 255).round().astype(np.uint8))


@dataclass(frozen=True)
class Picture:
    """An image as the VAE takes it, with its mask."""

    pixels: Tensor  # (3, H, W) in -1..1
    mask: Tensor | None  # (1, H, W), 0..1; None: nothing is masked


def read_picture(path: Path, fit: Fit, change: Change, mask: Path | Literal["alpha"] | None = None) -> Picture:
    """The rectangle of `path` that `changed_fit(fit, change)` describes, with `change`; its mask the same way.

    Args:
        mask: a file, or the image's own transparency.

    Raises:
        DatasetError: the image or the mask cannot be read or used.
    """
    place = changed_fit(fit, change)
    try:
        with open_image(path) as opened:
            image, weight = upright_rgb(opened), upright_alpha(opened) if mask == "alpha" else None
    except READ_ERRORS as error:
        raise DatasetError(f"{path.name} cannot be read: {error}. Repair it or take it out.") from error
    if image.size != fit.original[::-1]:
        raise DatasetError(f"{path.name} has {image.width}x{image.height} px and had {fit.original[1]}x{fit.original[0]} when "
                           "the run began; start it again.")
    if isinstance(mask, Path):
        weight = read_mask(mask, image.size)
    elif weight is not None and weight.getextrema()[1] == 0:
        raise DatasetError(f"{path.name} is wholly transparent, so nothing of it would be learned; take it out.")
    cut_out = recoloured(cut(_scaled(image, place.scaled, Image.Resampling.LANCZOS), place, change), change)
    pixels = torch.from_numpy(np.asarray(cut_out, dtype=np.float32) / 127.5 - 1).permute(2, 0, 1).contiguous()
    if weight is None:
        return Picture(pixels, None)
    # BOX: the mean where it is made smaller, the nearest pixel where it is enlarged.
    weight = cut(_scaled(weight, place.scaled, Image.Resampling.BOX), place, change)
    return Picture(pixels, torch.from_numpy(np.asarray(weight, dtype=np.float32) / 255)[None])


def read_mask(path: Path, size: tuple[int, int]) -> Image.Image:
    """The mask in `path` for an upright image of `size` (width, height): L, of its own size.

    Raises:
        DatasetError: it cannot be read, or has another form than the image.
    """
    try:
        with open_image(path) as opened:
            mask = _in_eight_bits(ImageOps.exif_transpose(opened)).convert("L")
    except READ_ERRORS as error:
        raise DatasetError(f"{path.name} cannot be read: {error}. Repair it or take it out.") from error
    _check_form(path, (mask.height, mask.width), (size[1], size[0]))
    return mask


def check_mask(path: Path, size: Size) -> None:
    """What can be known to be wrong with the mask in `path` without decoding it.

    Args:
        size: of its upright image.

    Raises:
        DatasetError: it is no image, or has another form than its image.
    """
    try:
        with open_image(path) as opened:
            own = upright_size(opened)
    except READ_ERRORS as error:
        raise DatasetError(f"{path.name} cannot be read: {error}. Repair it or take it out.") from error
    _check_form(path, own, size)


def _check_form(path: Path, own: Size, size: Size) -> None:
    if abs(own[1] * size[0] - own[0] * size[1]) > 0.02 * own[0] * size[1]:
        raise DatasetError(f"{path.name} has {own[1]}x{own[0]} px and another form than its image ({size[1]}x{size[0]}); make "
                           "them equal.")


def upright_alpha(image: Image.Image) -> Image.Image | None:
    """How opaque each pixel of `image` is, turned as its EXIF says: L; None where it has no transparency."""
    if not _has_alpha(image):
        return None
    return ImageOps.exif_transpose(image).convert("RGBA").getchannel("A")


def _has_alpha(image: Image.Image) -> bool:
    return image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info


def _scaled(image: Image.Image, size: Size, how: Image.Resampling) -> Image.Image:
    width, height = size[1], size[0]
    return image if image.size == (width, height) else image.resize((width, height), how)
