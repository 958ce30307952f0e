"""What an inpainting model is told of each image besides its noisy latents: a mask, and what is not masked."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from pivotal.data.folder import MASK
from pivotal.data.images import READ_ERRORS, open_image, read_pixels, square
from pivotal.errors import DatasetError

VARIANTS = 4  # masks for an image without a mask file; the first is the whole image, so a quarter of all are
MOST_RECTANGLES = 4  # in one mask
SIDES = (1 / 8, 3 / 4)  # of a rectangle, as parts of the image's


class MaskedEncoder(Protocol):
    """Whoever turns pixels and a mask into an inpainting UNet's input: a `models.diffusion.DiffusionModel`."""

    def encode_masked(self, pixels: Tensor, masks: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class Inpainting:
    """Each image's inputs, V x 5 x h x w fp32 on the CPU (80 KB each for 512 px); the variant changes by the epoch."""

    variants: tuple[Tensor, ...]
    seed: int

    def at(self, places: Sequence[tuple[int, int]]) -> Tensor:
        """(B, 5, h, w) for (image, epoch) places; the same each time it is asked for."""
        return torch.stack([self._one(index, epoch) for index, epoch in places])

    def _one(self, index: int, epoch: int) -> Tensor:
        variants = self.variants[index]
        return variants[random.Random(f"{self.seed}/inpainting/{epoch}/{index}").randrange(len(variants))]


def cache_inpainting(encoder: MaskedEncoder, paths: Sequence[Path], side: int, seed: int, *,
                     progress: Callable[[int, int], None], stopped: Callable[[], bool]) -> Inpainting | None:
    """Encodes every image at `side` x `side` px under its masks; None when stopped.

    The mask is the file `<stem>-masklabel.png` beside the image, white where something is to be painted; else there are
    `VARIANTS` drawn ones. That a quarter masks everything is as in the training of Stable Diffusion's inpainting models.

    Raises:
        DatasetError: an image or a mask cannot be read, or a mask has another form than its image.
    """
    found = []
    for done, path in enumerate(paths):
        if stopped():
            return None
        progress(done, len(paths))
        try:
            pixels, _ = read_pixels(path, side)
        except READ_ERRORS as error:
            raise DatasetError(f"{path.name} cannot be read: {error}. Repair it or take it out.") from error
        mask = read_mask(path, side)
        masks = drawn_masks(side, random.Random(f"{seed}/masks/{done}")) if mask is None else [mask]
        found.append(torch.cat([encoder.encode_masked(pixels[None], one[None, None]).cpu() for one in masks]))
    progress(len(paths), len(paths))
    return Inpainting(tuple(found), seed)


def mask_path(image: Path) -> Path:
    """Where the mask of `image` would lie."""
    return image.with_name(image.stem + MASK)


def read_mask(image: Path, side: int) -> Tensor | None:
    """(side, side) of 0 and 1, cut as the image is; None where there is no mask file.

    Raises:
        DatasetError: it cannot be read, or has another form than the image.
    """
    path = mask_path(image)
    if not path.is_file():
        return None
    try:
        with open_image(image) as opened:
            width, height = ImageOps.exif_transpose(opened).size
        with open_image(path) as opened:
            mask = ImageOps.exif_transpose(opened).convert("L")
    except READ_ERRORS as error:
        raise DatasetError(f"{path.name} cannot be read: {error}. Repair it or take it out.") from error
    if abs(mask.width * height - mask.height * width) > 0.02 * mask.height * width:
        raise DatasetError(f"{path.name} has {mask.width}x{mask.height} px and another form than its image "
                           f"({width}x{height}); make them equal.")
    whole = mask if mask.size == (width, height) else mask.resize((width, height), Image.Resampling.NEAREST)
    cut, _ = square(whole, side)
    return torch.from_numpy((np.asarray(cut) >= 128).astype(np.float32))


def drawn_masks(side: int, dice: random.Random) -> list[Tensor]:
    """`VARIANTS` masks of (side, side): the whole image, and rectangles that may overlap."""
    masks = [torch.ones(side, side)]
    while len(masks) < VARIANTS:
        mask = torch.zeros(side, side)
        for _ in range(dice.randint(1, MOST_RECTANGLES)):
            height, width = (max(1, round(side * dice.uniform(*SIDES))) for _ in range(2))
            top, left = dice.randint(0, side - height), dice.randint(0, side - width)
            mask[top : top + height, left : left + width] = 1
        masks.append(mask)
    return masks
