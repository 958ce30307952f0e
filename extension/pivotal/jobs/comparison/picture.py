"""A comparison as one picture: a line for each save, its name at the left, the prompts and strengths above."""

from __future__ import annotations

import textwrap

from PIL import Image, ImageDraw, ImageFont

from pivotal.jobs.comparison.comparisons import CompareView
from pivotal.jobs.comparison.plan import Column

_LARGEST = 512  # px, longer side of an image in it
_LEFT, _GAP, _LINE = 150, 6, 12  # px
_LETTER = 6.2  # px, mean width in Pillow's own font
_MOST_LINES = 6  # of a prompt


def picture_of(view: CompareView) -> Image.Image:
    """All images that are drawn, smaller where they are large; those that are missing are left empty."""
    width, height = _cell(view)
    titles = [_title(column, width) for column in view.columns]
    top = _LINE * max((len(lines) for lines in titles), default=0) + 2 * _GAP
    whole = Image.new("RGB", (_LEFT + len(view.columns) * (width + _GAP), top + len(view.rows) * (height + _GAP)), "white")
    draw = ImageDraw.Draw(whole)
    for number, lines in enumerate(titles):
        _write(draw, _LEFT + number * (width + _GAP), _GAP, lines)
    for row, (save, line) in enumerate(zip(view.rows, view.images, strict=True)):
        y = top + row * (height + _GAP)
        _write(draw, _GAP, y, textwrap.wrap(save.label, int((_LEFT - 2 * _GAP) / _LETTER)))
        for number, path in enumerate(line):
            if path is not None and path.is_file():
                with Image.open(path) as image:
                    small = image.convert("RGB")
                small.thumbnail((width, height))
                whole.paste(small, (_LEFT + number * (width + _GAP), y))
    return whole


def _cell(view: CompareView) -> tuple[int, int]:
    """Width and height of the largest image, at most `_LARGEST`."""
    sizes = []
    for path in {path for line in view.images for path in line if path is not None and path.is_file()}:
        with Image.open(path) as image:
            sizes.append(image.size)
    width, height = (max(side) for side in zip(*sizes, strict=True)) if sizes else (_LARGEST, _LARGEST)
    share = min(1.0, _LARGEST / max(width, height))
    return round(width * share), round(height * share)


def _title(column: Column, width: int) -> list[str]:
    """The prompt in a few lines, then strength and seed."""
    facts = f"seed {column.seed}" if column.strength is None else f"strength {column.strength:g}, seed {column.seed}"
    letters = max(int(width / _LETTER), 8)
    return [*textwrap.wrap(column.prompt, letters, max_lines=_MOST_LINES, placeholder=" ..."), *textwrap.wrap(facts, letters)]


def _write(draw: ImageDraw.ImageDraw, x: int, y: int, lines: list[str]) -> None:
    font = ImageFont.load_default()
    for number, line in enumerate(lines):
        # Pillow's own font of before 10.1 has no other letters, and raises for them.
        draw.text((x, y + number * _LINE), line.encode("latin-1", "replace").decode("latin-1"), fill="black", font=font)
