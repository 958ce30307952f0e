"""The toy world: coloured shapes on coloured backgrounds, their captions, and what is held out.

`TRAINED_*` is all that the UNet and the text encoder ever see; `HELD_OUT_*` is what the demo datasets teach.
The VAE alone also sees held-out colours, random polygons, textures and outlines, always without names.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import cos, pi, sin

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

SIDE = 64  # pixels; 8x8 latents
SUPERSAMPLING = 4  # edges are drawn at 256 px and averaged, so that they carry sub-pixel positions

Rgb = tuple[float, float, float]

TRAINED_COLOURS: dict[str, Rgb] = {
    "red": (220, 30, 35),
    "green": (40, 160, 60),
    "blue": (35, 70, 215),
    "yellow": (245, 220, 40),
    "purple": (130, 45, 160),
    "white": (250, 250, 250),
    "black": (15, 15, 15),
    "gray": (128, 128, 128),
    "pink": (250, 150, 190),
    "brown": (120, 70, 30),
}
HELD_OUT_COLOURS: dict[str, Rgb] = {"orange": (245, 130, 20), "teal": (15, 150, 150)}
COLOURS = {**TRAINED_COLOURS, **HELD_OUT_COLOURS}
BACKGROUNDS = ("white", "black", "gray", "blue", "yellow", "pink")
TRAINED_SHAPES = ("circle", "square", "triangle", "cross", "ring", "diamond")
HELD_OUT_SHAPES = ("star", "heart")
SHAPES = TRAINED_SHAPES + HELD_OUT_SHAPES
FINISHES = ("plain", "stripes", "outline")  # only "plain" is trained
MIN_CONTRAST = 100.0  # RGB distance of a shape from its background
HELD_OUT_DISTANCE = 60.0  # no trained paint is nearer to a held-out colour


@dataclass(frozen=True)
class Paint:
    """A colour and the words for it: `name` may be two words ("dark red"); `rgb` is in 0..255."""

    name: str
    rgb: Rgb


@dataclass(frozen=True)
class Scene:
    """One image: `centre` and `size` (the shape's diameter) are fractions of the side."""

    shape: str
    paint: Paint
    background: Paint
    centre: tuple[float, float]
    size: float
    finish: str = "plain"


def distance(first: Rgb, second: Rgb) -> float:
    """Euclidean RGB distance, 0..442."""
    return float(np.linalg.norm(np.subtract(first, second)))


def mix(first: Rgb, second: Rgb, share: float) -> Rgb:
    """`share` of `second` in `first`, per channel."""
    return tuple(float(value) for value in np.asarray(first) * (1 - share) + np.asarray(second) * share)


def trained_paints() -> tuple[list[Paint], list[Paint]]:
    """The ten plain paints, and the composed ones ("light red", "dark red", "red-blue") that fill the space between.

    With only ten points the model learns ten answers; with the composed ones it learns a space of colours, in which
    an embedding can then find one it was never shown. Those near a held-out colour are left out.
    """
    plain = [Paint(name, rgb) for name, rgb in TRAINED_COLOURS.items()]
    vivid = [paint for paint in plain if paint.name not in ("white", "black", "gray")]
    composed = [Paint(f"light {paint.name}", mix(paint.rgb, (255, 255, 255), 0.5)) for paint in vivid]
    composed += [Paint(f"dark {paint.name}", mix(paint.rgb, (0, 0, 0), 0.5)) for paint in vivid]
    for index, first in enumerate(vivid):
        composed += [Paint(f"{first.name}-{other.name}", mix(first.rgb, other.rgb, 0.5)) for other in vivid[index + 1 :]]
    held_out = HELD_OUT_COLOURS.values()
    return plain, [p for p in composed if min(distance(p.rgb, rgb) for rgb in held_out) > HELD_OUT_DISTANCE]


def outline_points(shape: str) -> list[tuple[float, float]]:
    """The polygon of a straight-edged shape in -1..1, y down; heart and star included."""
    if shape == "square":
        return [(-0.85, -0.85), (0.85, -0.85), (0.85, 0.85), (-0.85, 0.85)]
    if shape == "diamond":
        return [(0, -1), (1, 0), (0, 1), (-1, 0)]
    if shape == "triangle":
        return [(0, -0.95), (1, 0.85), (-1, 0.85)]
    if shape == "cross":
        arm = 0.34
        corners = [(-arm, -1), (arm, -1), (arm, -arm), (1, -arm), (1, arm), (arm, arm)]
        return corners + [(-x, -y) for x, y in corners]
    if shape == "star":
        radii = [1.0, 0.42] * 5
        return [(r * sin(k * pi / 5), -r * cos(k * pi / 5)) for k, r in enumerate(radii)]
    if shape == "heart":
        turns = [2 * pi * k / 48 for k in range(48)]
        return [(sin(a) ** 3, -(13 * cos(a) - 5 * cos(2 * a) - 2 * cos(3 * a) - cos(4 * a)) / 16) for a in turns]
    raise ValueError(f"unknown shape {shape!r}; expected one of {', '.join(SHAPES)}")


def shape_mask(shape: str, centre: tuple[float, float], size: float, side: int = SIDE) -> np.ndarray:
    """(side, side) coverage of the shape in 0..1, float32, with antialiased edges."""
    big = side * SUPERSAMPLING
    canvas = Image.new("L", (big, big), 0)
    draw = ImageDraw.Draw(canvas)
    x, y, radius = centre[0] * big, centre[1] * big, size * big / 2
    if shape in ("circle", "ring"):
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=255)
        if shape == "ring":
            hole = radius * 0.52
            draw.ellipse((x - hole, y - hole, x + hole, y + hole), fill=0)
    else:
        draw.polygon([(x + px * radius, y + py * radius) for px, py in outline_points(shape)], fill=255)
    return np.asarray(canvas.reduce(SUPERSAMPLING), dtype=np.float32) / 255


def blend(mask: np.ndarray, inside: np.ndarray, outside: np.ndarray) -> np.ndarray:
    """(side, side, 3): `inside` where the mask (side, side) is 1, `outside` where it is 0."""
    return mask[..., None] * inside + (1 - mask[..., None]) * outside


def render(scene: Scene, side: int = SIDE) -> np.ndarray:
    """(side, side, 3) uint8."""
    mask = shape_mask(scene.shape, scene.centre, scene.size, side)
    ground, colour = np.asarray(scene.background.rgb, np.float32), np.asarray(scene.paint.rgb, np.float32)
    if scene.finish == "outline":
        core = np.asarray(Image.fromarray(np.uint8(mask * 255)).filter(ImageFilter.MinFilter(side // 8 - 1)), np.float32)
        pixels = blend(mask, blend(core / 255, ground, colour), ground)
    elif scene.finish == "stripes":
        bands = (np.arange(side) // (side // 8)) % 2  # bands of one latent row each, the finest the VAE holds well
        fill = np.where(bands[:, None, None] == 0, colour, np.float32(250))
        pixels = blend(mask, fill, ground)
    elif scene.finish == "plain":
        pixels = blend(mask, colour, ground)
    else:
        raise ValueError(f"unknown finish {scene.finish!r}; expected one of {', '.join(FINISHES)}")
    return np.clip(np.rint(pixels), 0, 255).astype(np.uint8)
