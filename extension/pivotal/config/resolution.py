"""The resolutions of a run, as one types them."""

from __future__ import annotations

import re

Size = tuple[int, int]  # height, width in px
LEAST, MOST, STEP = 64, 4096, 8  # px; the VAE makes one latent of 8 x 8


def parse_resolutions(text: str) -> tuple[Size, ...]:
    """``512``, ``512, 768`` or ``640x512`` (width x height) as (height, width), in the order in which they stand.

    Returns: nothing for an empty text.

    Raises:
        ValueError: says which part is no resolution, and why.
    """
    found = [_size(part.strip()) for part in text.split(",")] if text.strip() else []
    for size in found:
        if found.count(size) > 1:
            raise ValueError(f"{_named(size)} stands there twice; name each resolution once")
    return tuple(found)


def resolutions_of(text: str, usual: int) -> tuple[Size, ...]:
    """As `parse_resolutions`, of a text that was checked; the square of `usual` px where nothing is typed."""
    return parse_resolutions(text) or ((usual, usual),)


def _size(part: str) -> Size:
    match = re.fullmatch(r"(\d+)(?:\s*[xX×]\s*(\d+))?", part)
    if not match:
        raise ValueError(f"expected a number of px, several with commas between, or width x height as 640x512; got {part!r}")
    width = int(match[1])
    height = int(match[2]) if match[2] else width
    for side in (width, height):
        if not LEAST <= side <= MOST:
            raise ValueError(f"expected {LEAST} to {MOST} px, got {side}")
        if side % STEP:
            raise ValueError(f"expected a multiple of {STEP}, got {side}")
    return height, width


def _named(size: Size) -> str:
    return str(size[0]) if size[0] == size[1] else f"{size[1]}x{size[0]}"
