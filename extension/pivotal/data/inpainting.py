"""Masks: where they lie, and those that an inpainting model is told where there is none."""

from __future__ import annotations

import random
from pathlib import Path

import torch
from torch import Tensor

from pivotal.data.folder import MASK, Item
from pivotal.data.view import Size

VARIANTS = 4  # masks for an image without a mask file; the first is the whole image, so a quarter of all are
MOST_RECTANGLES = 4  # in one mask
SIDES = (1 / 8, 3 / 4)  # of a rectangle, as parts of the image's


def mask_path(image: Path) -> Path:
    """Where the mask of `image` would lie beside it."""
    return image.with_name(image.stem + MASK)


def mask_file(item: Item) -> Path | None:
    """The mask that the item's source names, or the one beside its image; None where there is neither."""
    beside = mask_path(item.path)
    return item.mask or (beside if beside.is_file() else None)


def inpainting_masks(mask: Tensor | None, size: Size, dice: random.Random) -> list[Tensor]:
    """What an inpainting model may be told to paint of an image: its mask as 0 and 1, else `VARIANTS` drawn ones.

    Args:
        mask: (1, H, W), 0..1.

    Returns: (H, W) each.
    """
    return drawn_masks(size, dice) if mask is None else [(mask[0] >= 0.5).float()]


def drawn_masks(size: Size, dice: random.Random) -> list[Tensor]:
    """`VARIANTS` masks of `size`: the whole image, and rectangles that may overlap.

    That a quarter masks everything is as in the training of Stable Diffusion's inpainting models.
    """
    masks = [torch.ones(size)]
    while len(masks) < VARIANTS:
        mask = torch.zeros(size)
        for _ in range(dice.randint(1, MOST_RECTANGLES)):
            height, width = (max(1, round(side * dice.uniform(*SIDES))) for side in size)
            top, left = dice.randint(0, size[0] - height), dice.randint(0, size[1] - width)
            mask[top : top + height, left : left + width] = 1
        masks.append(mask)
    return masks
