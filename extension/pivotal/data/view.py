"""How an image becomes pixels of a batch: to which size it is scaled, what of it is seen, and how often."""

from __future__ import annotations

from dataclasses import dataclass

Size = tuple[int, int]  # height, width in px, as tensors and SDXL's size conditioning have them


@dataclass(frozen=True)
class Fit:
    """Where an image's rectangle of pixels comes from."""

    original: Size  # of the upright image
    scaled: Size  # to which it is resized, at least `size` in both
    offset: Size  # top, left of the rectangle in the scaled image
    size: Size  # of the rectangle: the bucket


@dataclass(frozen=True)
class View:
    """An image at one size; with several resolutions an image has several views."""

    item: int  # index of the image in the dataset
    fit: Fit
    rate: float = 1.0  # times it is seen in an epoch; 0.1 is once in ten epochs
    phase: float = 0.0  # 0..1: by the end of epoch e (0, 1, ...) it was seen floor((e + 1) x rate + phase) times
