"""Where images are cut: A1111's preprocessing (auto-sized crop, splitting, focal point) in plain arithmetic."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image

Box = tuple[int, int, int, int]  # left, top, right, bottom
_STEP = 64  # px, of automatic sizes
_LOOKED_AT = 256  # px, longer side of the copy in which detail is looked for


def fitted(image: Image.Image, width: int, height: int) -> tuple[int, int]:
    """The smallest size of `image`, in its own shape, that covers width x height."""
    scale = max(width / image.width, height / image.height)
    return max(width, round(image.width * scale)), max(height, round(image.height * scale))


def middle_box(size: tuple[int, int], width: int, height: int) -> Box:
    """width x height out of the middle of `size`."""
    left, top = (size[0] - width) // 2, (size[1] - height) // 2
    return left, top, left + width, top + height


def detail_box(image: Image.Image, width: int, height: int) -> Box:
    """width x height out of `image` where it has most detail: the largest sum of differences between neighbours.

    Of places with equally much the one next to the middle is taken.
    """
    scale = min(1.0, _LOOKED_AT / max(image.size))
    small = image.convert("L").resize((max(1, round(image.width * scale)), max(1, round(image.height * scale))),
                                      Image.Resampling.BOX)
    gray = np.asarray(small, dtype=np.float64)
    detail = np.zeros_like(gray)
    detail[:, 1:] += np.abs(np.diff(gray, axis=1))
    detail[1:] += np.abs(np.diff(gray, axis=0))
    wide, high = min(gray.shape[1], max(1, round(width * scale))), min(gray.shape[0], max(1, round(height * scale)))
    sums = np.pad(detail.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    boxes = sums[high:, wide:] - sums[:-high, wide:] - sums[high:, :-wide] + sums[:-high, :-wide]
    rows, columns = np.indices(boxes.shape)
    away = np.hypot(rows - (boxes.shape[0] - 1) / 2, columns - (boxes.shape[1] - 1) / 2)
    best = np.flatnonzero(boxes.ravel() >= boxes.max() - 1e-6)
    top, left = np.unravel_index(best[away.ravel()[best].argmin()], boxes.shape)
    x = _scaled(int(left), boxes.shape[1] - 1, image.width - width)
    y = _scaled(int(top), boxes.shape[0] - 1, image.height - height)
    return x, y, x + width, y + height


def _scaled(place: int, of: int, to: int) -> int:
    """`place` in 0..of as a place in 0..to."""
    return round(place / of * to) if of else to // 2


def split_boxes(size: tuple[int, int], width: int, height: int, at: float, overlap: float) -> list[Box] | None:
    """The parts of an image that is much longer than width x height; None for one that is not.

    The image is meant to be scaled by `split_scale` first. Facts of A1111's preprocessing: ``split_threshold`` and
    ``overlap_ratio``.

    Args:
        size: width, height of the image.
        at: images whose shape, over that of the parts, is at most this are split; 0..1.
        overlap: share of a part that the next one shows, too.

    Returns: left, top, right, bottom in the scaled image, each of width x height.
    """
    scaled = split_size(size, width, height)
    shape = (size[0] / size[1]) / (width / height)
    if min(shape, 1 / shape) > at or min(shape, 1 / shape) >= 1:
        return None
    along = 1 if scaled[1] > height else 0
    length, part = scaled[along], (width, height)[along]
    count = max(2, math.ceil((length - part * overlap) / (part * (1 - overlap))))
    starts = [round(index * (length - part) / (count - 1)) for index in range(count)]
    return [(start, 0, start + width, height) if along == 0 else (0, start, width, start + height) for start in starts]


def split_size(size: tuple[int, int], width: int, height: int) -> tuple[int, int]:
    """The size to which an image is scaled before it is split: as wide, or as high, as a part."""
    scale = max(width / size[0], height / size[1])
    return max(width, round(size[0] * scale)), max(height, round(size[1] * scale))


def automatic_size(size: tuple[int, int], sides: tuple[int, int], areas: tuple[int, int], most_cut: float,
                   most_area: bool) -> tuple[int, int] | None:
    """The width and height, in steps of 64 px, that an image is best cut to; None when no allowed one fits it.

    Args:
        size: width, height of the image.
        sides: least and largest side in px.
        areas: least and largest area in px.
        most_cut: share of the image that may be cut off, 0..1.
        most_area: whether the largest one is taken, else the one that cuts off least.
    """
    steps = range(math.ceil(sides[0] / _STEP) * _STEP, sides[1] + 1, _STEP)
    allowed = [(width, height) for width in steps for height in steps if areas[0] <= width * height <= areas[1]]
    lost = {shape: share_cut_off(size, shape) for shape in allowed}
    fits = [shape for shape in allowed if lost[shape] <= most_cut]
    if not fits:
        return None
    # Of equals, the other aim decides.
    return min(fits, key=lambda shape: (-shape[0] * shape[1], lost[shape]) if most_area
               else (lost[shape], -shape[0] * shape[1]))


def share_cut_off(size: tuple[int, int], shape: tuple[int, int]) -> float:
    """How much of an image of `size` is lost when it is cut to `shape`: 0 for the same form."""
    ratio = (size[0] / size[1]) / (shape[0] / shape[1])
    return 1 - min(ratio, 1 / ratio)
