"""What a mask shows white: where it lies in its image, and round parts of it."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from pivotal.data.augment import Change
from pivotal.data.folder import Item
from pivotal.data.images import READ_ERRORS, open_image, read_mask, upright_alpha
from pivotal.data.view import Fit
from pivotal.errors import DatasetError

MARGIN = 0.2  # of a box's side that is kept around it, half on each side
LEAST_RADIUS = 0.2  # of a round part, as a part of the mask's reach (OneTrainer, circular mask shrink)
_WHITE = 128  # of 255; what is less counts as black


class Box(NamedTuple):
    """The rectangle around what is white, as parts (0..1) of the upright image."""

    top: float
    left: float
    bottom: float
    right: float


def find_box(item: Item, mask: Path | Literal["alpha"]) -> Box | None:
    """The box of an image's mask; None where it has none, or it is all black.

    Raises:
        DatasetError: the mask or the image cannot be read.
    """
    if isinstance(mask, Path):
        return box_of(read_mask(mask, item.size[::-1]))
    try:
        with open_image(item.path) as opened:
            weight = upright_alpha(opened)
    except READ_ERRORS as error:
        raise DatasetError(f"{item.path.name} cannot be read: {error}. Repair it or take it out.") from error
    return None if weight is None else box_of(weight)


def box_of(mask: Image.Image) -> Box | None:
    """The box of a mask (L)."""
    found = mask.point([0] * _WHITE + [255] * (256 - _WHITE)).getbbox()
    if found is None:
        return None
    left, top, right, bottom = found
    return Box(top / mask.height, left / mask.width, bottom / mask.height, right / mask.width)


def cut_to(box: Box, fit: Fit, change: Change) -> Change:
    """`change` with the box and its margin filling the cut, whose form it keeps; enlarged no further than pixels reach."""
    sides = (box.bottom - box.top, box.right - box.left)
    wanted = min(size / (side * (1 + MARGIN) * scaled) for size, side, scaled in zip(fit.size, sides, fit.scaled, strict=True))
    most = max(1.0, min(whole / scaled for whole, scaled in zip(fit.original, fit.scaled, strict=True)))
    return replace(change, zoom=max(change.zoom, min(wanted, most)),
                   focus=((box.top + box.bottom) / 2, (box.left + box.right) / 2))


def round_part(mask: Tensor, dice: random.Random) -> Tensor:
    """What of `mask` (1, h, w), 0..1, lies within a circle around a place in it.

    The radius is `LEAST_RADIUS` to the whole of the way to the mask's farthest place.
    """
    rows, columns = torch.nonzero(mask[0] >= 0.5, as_tuple=True)
    if not len(rows):
        return mask
    place = dice.randrange(len(rows))
    height, width = mask.shape[1:]
    down = torch.arange(height)[:, None] - rows[place]
    across = torch.arange(width)[None] - columns[place]
    distance = torch.from_numpy(np.hypot(down.numpy(), across.numpy()))
    radius = dice.uniform(LEAST_RADIUS, 1) * float(distance[mask[0] > 0].max())
    return mask * (distance <= radius)
