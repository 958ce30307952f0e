"""Names the colour, the shape and the background of one toy image, without any learning.

The background is the border's median colour; the foreground is what lies far from it; its mask, cropped and brought to
one size, is compared with the rendered masks of every shape. Soft masks and a soft overlap make it robust to blur.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from PIL import Image

from pivotal.toy.concepts import COLOURS, SHAPES, Rgb, distance, shape_mask

NORMAL_SIDE = 24  # pixels of a normalised mask
TEMPLATE_SIZES = (0.44, 0.52, 0.60, 0.70)
FAINTEST = 40.0  # RGB distance below which there is no foreground


@dataclass(frozen=True)
class Verdict:
    """What an image shows. `shape` and `colour` are "" where nothing stands out from the background.

    `overlap` (0..1) is the soft intersection over union with the best template; `rgb` and `background_rgb` are measured.
    """

    shape: str
    colour: str
    background: str
    overlap: float
    rgb: Rgb
    background_rgb: Rgb


def nearest_colour(rgb: Rgb, colours: dict[str, Rgb]) -> str:
    """The name of the nearest palette colour."""
    return min(colours, key=lambda name: distance(colours[name], rgb))


def median_rgb(pixels: np.ndarray) -> Rgb:
    """(N, 3) to one colour."""
    return tuple(float(value) for value in np.median(pixels, axis=0))


def segment(pixels: np.ndarray) -> tuple[np.ndarray, Rgb, Rgb]:
    """((side, side) soft foreground mask, foreground colour, background colour); an empty mask where all is background."""
    image = pixels.astype(np.float32)
    border = np.concatenate([image[:2].reshape(-1, 3), image[-2:].reshape(-1, 3), *image[:, [0, 1, -2, -1]].swapaxes(0, 1)])
    ground = np.asarray(median_rgb(border), np.float32)
    away = np.linalg.norm(image - ground, axis=-1)
    strong = float(np.percentile(away, 96))  # the smallest shape (a star of 42 %) covers about 5 % of the image
    if strong < FAINTEST:
        return np.zeros(away.shape, np.float32), tuple(ground.tolist()), tuple(ground.tolist())
    colour = np.asarray(median_rgb(image[away > 0.75 * strong]), np.float32)
    step = colour - ground
    mask = np.clip((image - ground) @ step / max(1.0, float(step @ step)), 0, 1)
    return mask, tuple(colour.tolist()), tuple(ground.tolist())


def normalised(mask: np.ndarray) -> np.ndarray:
    """The mask's bounding box, padded to a square and resized to (NORMAL_SIDE, NORMAL_SIDE)."""
    rows, columns = np.flatnonzero((mask > 0.5).any(1)), np.flatnonzero((mask > 0.5).any(0))
    if not len(rows):
        return np.zeros((NORMAL_SIDE, NORMAL_SIDE), np.float32)
    crop = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    side = max(crop.shape)
    square = np.zeros((side, side), np.float32)
    top, left = (side - crop.shape[0]) // 2, (side - crop.shape[1]) // 2
    square[top : top + crop.shape[0], left : left + crop.shape[1]] = crop
    image = Image.fromarray(np.uint8(square * 255)).resize((NORMAL_SIDE, NORMAL_SIDE), Image.Resampling.BILINEAR)
    return np.asarray(image, np.float32) / 255


@cache
def templates(side: int) -> dict[str, np.ndarray]:
    """Per shape its normalised masks (sizes, NORMAL_SIDE, NORMAL_SIDE), drawn in an image of `side` pixels."""
    return {
        shape: np.stack([normalised(shape_mask(shape, (0.5, 0.5), size, side)) for size in TEMPLATE_SIZES]) for shape in SHAPES
    }


def overlaps(mask: np.ndarray) -> dict[str, float]:
    """Soft intersection over union of a mask (side, side) with each shape, 0..1."""
    found = normalised(mask)
    scores = {}
    for shape, masks in templates(len(mask)).items():
        inside, either = np.minimum(masks, found).sum((1, 2)), np.maximum(masks, found).sum((1, 2))
        scores[shape] = float((inside / either).max())
    return scores


def judge(pixels: np.ndarray, colours: dict[str, Rgb] | None = None) -> Verdict:
    """Judges (side, side, 3) uint8 against every shape and the palette (all trained and held-out colours by default)."""
    palette = COLOURS if colours is None else colours
    mask, rgb, ground = segment(pixels)
    background = nearest_colour(ground, palette)
    if not mask.any():
        return Verdict("", "", background, 0.0, rgb, ground)
    scores = overlaps(mask)
    shape = max(scores, key=scores.__getitem__)
    return Verdict(shape, nearest_colour(rgb, palette), background, scores[shape], rgb, ground)
