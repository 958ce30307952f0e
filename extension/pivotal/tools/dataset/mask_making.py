"""Masks that nobody has to paint: by colour, by transparency, or by a network; then made larger, softer, and joined."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageColor, ImageFilter
from torch.nn import functional as F  # noqa: N812

from pivotal.data.images import READ_ERRORS, open_image, upright_alpha
from pivotal.errors import DatasetError, OptionError
from pivotal.tools.dataset.loading import clipseg, rembg_remover
from pivotal.tools.dataset.mask_files import mask_size, read_image, read_mask_file, write_mask
from pivotal.tools.dataset.places import Place
from pivotal.tools.dataset.settings import MaskImages

Selector = Callable[[Path, Image.Image], np.ndarray]  # file and upright image -> (height, width), how much is selected, 0..1
Step = Callable[[str], str]
_FARTHEST = 3 ** 0.5 * 255  # between two colours


@contextmanager
def mask_maker(settings: MaskImages, place: Place) -> Iterator[Step]:
    """A function that makes the mask of an image by its name, and says what it wrote; networks are loaded once.

    Raises:
        OptionError: the colour is none, a package is missing.
        DatasetError: the network cannot be had.
    """
    with _selector(settings) as select:
        def make(name: str) -> str:
            path = place.mask(name)
            if settings.combine == "fill" and path.exists():
                return ""
            image = read_image(place.image(name))
            size = mask_size(image.size)
            image = image if image.size == size else image.resize(size, Image.Resampling.LANCZOS)
            made = finished(select(place.image(name), image), settings)
            write_mask(path, combined(made, read_mask_file(path, size), settings.combine))
            return path.name

        yield make


@contextmanager
def _selector(settings: MaskImages) -> Iterator[Selector]:
    if settings.how == "colour":
        yield by_colour(settings.colour)
    elif settings.how == "transparency":
        yield by_alpha
    elif settings.how == "rembg":
        yield rembg_remover(settings.rembg_model)
    else:
        with clipseg(settings.model, settings.prompt) as select:
            yield lambda _path, image: select(image)


def by_colour(colour: str) -> Selector:
    """How near each pixel is to `colour`: 1 where equal, 0 where as far from it as black is from white.

    Raises:
        OptionError: it is no colour.
    """
    try:
        wanted = np.array(ImageColor.getrgb(colour.strip())[:3], dtype=np.float32)
    except ValueError as error:
        raise OptionError({"colour": f"expected a colour such as #00ff00 or green, got {colour!r}"}) from error

    def select(_path: Path, image: Image.Image) -> np.ndarray:
        distance = np.linalg.norm(np.asarray(image, dtype=np.float32) - wanted, axis=2)
        return 1 - distance / _FARTHEST

    return select


def by_alpha(path: Path, image: Image.Image) -> np.ndarray:
    """How opaque each pixel is.

    Raises:
        DatasetError: the image has no transparency.
    """
    try:
        with open_image(path) as opened:
            alpha = upright_alpha(opened)
    except READ_ERRORS as error:
        raise DatasetError(f"it cannot be read: {error}") from error
    if alpha is None:
        raise DatasetError("it has no transparency to make a mask of")
    return np.asarray(alpha.resize(image.size) if alpha.size != image.size else alpha, dtype=np.float32) / 255


def finished(selected: np.ndarray, settings: MaskImages) -> np.ndarray:
    """What was selected as a mask: cut at the threshold, grown, blurred, inverted.

    Args:
        selected: (height, width) in 0..1.

    Returns: likewise.
    """
    mask = (selected >= settings.threshold).astype(np.float32) if settings.threshold > 0 else selected.astype(np.float32)
    mask = grown(mask, settings.grow)
    if settings.blur > 0:
        image = Image.fromarray((mask * 255 + 0.5).astype(np.uint8)).filter(ImageFilter.GaussianBlur(settings.blur))
        mask = np.asarray(image, dtype=np.float32) / 255
    return 1 - mask if settings.invert else mask


def grown(mask: np.ndarray, by: int) -> np.ndarray:
    """`mask` with every white place larger by `by` px to each side; smaller where it is negative."""
    if not by:
        return mask
    side = 2 * abs(by) + 1
    values = torch.from_numpy(mask)[None, None] * (1 if by > 0 else -1)
    for kernel, padding in (((side, 1), (abs(by), 0)), ((1, side), (0, abs(by)))):  # one axis, then the other: many times faster
        values = F.max_pool2d(values, kernel, stride=1, padding=padding)
    return (values[0, 0] * (1 if by > 0 else -1)).numpy()


def combined(made: np.ndarray, old: np.ndarray | None, how: str) -> np.ndarray:
    """`made` joined with the mask that was there.

    Args:
        how: one of MaskImages.combine; subtracting from no mask subtracts from white.
    """
    if how == "add" and old is not None:
        return np.maximum(made, old)
    if how == "subtract":
        return np.minimum(1 - made, 1 if old is None else old)
    return made
