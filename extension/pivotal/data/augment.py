"""Random changes of an image: drawn from a seed, so that the same version of the same image is the same each time."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image, ImageEnhance

from pivotal.config.sections.augment import Augment
from pivotal.data.view import Fit


@dataclass(frozen=True)
class Change:
    """What is done to an image; the defaults change nothing."""

    flip: bool = False  # left to right, last of all
    zoom: float = 1.0  # at least 1
    angle: float = 0.0  # degrees against the clock
    place: tuple[float, float] = (0.5, 0.5)  # of what is cut out, down and across: 0 is the first, 1 the last edge
    focus: tuple[float, float] | None = None  # a point of the image, down and across, that shall be in the middle instead
    brightness: float = 1.0  # factors, as Pillow's ImageEnhance has them
    contrast: float = 1.0
    saturation: float = 1.0
    hue: float = 0.0  # in turns of the colour circle

    @property
    def is_centred(self) -> bool:
        """Whether it cuts where the fit does."""
        return self.zoom == 1 and self.angle == 0 and self.place == (0.5, 0.5) and self.focus is None


def draw_change(settings: Augment, dice: random.Random, *, flip: bool, focus: tuple[float, float] | None = None) -> Change:
    """One version; every number is drawn whether it is used or not, so that one option does not change another's draw."""
    parts = [dice.random() for _ in range(8)]
    either_way = [2 * part - 1 for part in parts]
    return Change(
        flip=flip,
        focus=focus,
        zoom=1 + settings.zoom * parts[0],
        angle=settings.rotation * either_way[1] + 0.0,  # never -0.0, which is another text than 0.0
        place=(parts[2], parts[3]) if settings.random_crop else (0.5, 0.5),
        brightness=1 + settings.brightness * either_way[4],
        contrast=1 + settings.contrast * either_way[5],
        saturation=1 + settings.saturation * either_way[6],
        hue=settings.hue * either_way[7] + 0.0)


def changed_fit(fit: Fit, change: Change) -> Fit:
    """Where a changed image's rectangle comes from, before it is mirrored.

    It is enlarged as far as the turned rectangle needs, so that no place outside of the image is ever seen.
    """
    if change.is_centred:
        return fit
    box = turned_box(fit.size, change.angle)
    needed = max(change.zoom, *(side / whole for side, whole in zip(box, fit.scaled, strict=True)))
    height, width = (max(math.ceil(side), round(whole * needed)) for side, whole in zip(box, fit.scaled, strict=True))
    place = change.place
    if change.focus is not None:
        place = tuple(_part(point * whole - side / 2, whole - side)
                      for point, whole, side in zip(change.focus, (height, width), box, strict=True))
    offset = tuple(round(part * (whole - side) + (side - cut) / 2) if change.angle else math.floor(part * (whole - cut + 0.999))
                   for part, whole, side, cut in zip(place, (height, width), box, fit.size, strict=True))
    return replace(fit, scaled=(height, width), offset=offset)


def _part(begin: float, room: float) -> float:
    """`begin` as a part of `room`, 0..1; a middle that is too near an edge comes as near as it can."""
    return min(max(begin / room, 0.0), 1.0) if room > 0 else 0.0


def turned_box(size: tuple[int, int], angle: float) -> tuple[float, float]:
    """Height and width of the upright box around a rectangle of `size` turned by `angle` degrees."""
    sine, cosine = abs(math.sin(math.radians(angle))), abs(math.cos(math.radians(angle)))
    return size[0] * cosine + size[1] * sine, size[1] * cosine + size[0] * sine


def mirrored_left(fit: Fit) -> int:
    """The left edge of the rectangle in the mirrored image."""
    return fit.scaled[1] - fit.offset[1] - fit.size[1]


def cut(image: Image.Image, fit: Fit, change: Change) -> Image.Image:
    """`image`, scaled as `fit` says, turned and cut to its size, and mirrored."""
    (top, left), (height, width) = fit.offset, fit.size
    box = (left, top, left + width, top + height)
    image = _turned(image, fit, change.angle) if change.angle else image.crop(box)
    return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if change.flip else image


def _turned(image: Image.Image, fit: Fit, angle: float) -> Image.Image:
    """The rectangle of `fit`, turned about its middle."""
    (top, left), (height, width) = fit.offset, fit.size
    cosine, sine = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    middle = (left + width / 2, top + height / 2)
    # Pillow asks for each pixel of the result where it lies in the image.
    matrix = (cosine, -sine, middle[0] - cosine * width / 2 + sine * height / 2,
              sine, cosine, middle[1] - sine * width / 2 - cosine * height / 2)
    smooth = Image.Resampling.BILINEAR if image.mode == "L" else Image.Resampling.BICUBIC
    return image.transform((width, height), Image.Transform.AFFINE, matrix, smooth)


def recoloured(image: Image.Image, change: Change) -> Image.Image:
    """`image` (RGB) with the change's brightness, contrast, saturation and hue, in this order."""
    for factor, enhance in ((change.brightness, ImageEnhance.Brightness), (change.contrast, ImageEnhance.Contrast),
                            (change.saturation, ImageEnhance.Color)):
        if factor != 1:
            image = enhance(image).enhance(factor)
    if change.hue:
        hue, saturation, value = image.convert("HSV").split()
        turned = (np.asarray(hue).astype(np.int32) + round(change.hue * 256)) % 256
        image = Image.merge("HSV", (Image.fromarray(turned.astype(np.uint8)), saturation, value)).convert("RGB")
    return image
