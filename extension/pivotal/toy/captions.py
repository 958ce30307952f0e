"""Draws scenes and words them; every draw comes from a generator that the caller seeds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from pivotal.toy.concepts import (
    BACKGROUNDS,
    HELD_OUT_COLOURS,
    HELD_OUT_DISTANCE,
    MIN_CONTRAST,
    TRAINED_COLOURS,
    TRAINED_SHAPES,
    Paint,
    Scene,
    distance,
    trained_paints,
)

JITTER = 7.0  # standard deviation of a paint's channels, in 0..255
COMPOSED_SHARE = 0.35  # of the scenes; their colours fill the space between the plain ones
UNNAMED_SHARE = 0.2  # of the scenes; any colour, which the caption leaves out
BACKGROUND_NAMED = 0.85
PLAIN_WORDING = 0.6
OPENINGS = (
    "a photo of a",
    "a picture of a",
    "an image of a",
    "a rendering of a",
    "a close-up photo of a",
    "a good photo of a",
    "the photo of a",
    "one",
    "the",
)


def jittered(paint: Paint, rng: np.random.Generator) -> Paint:
    """The same words for a slightly different colour, still inside 0..255."""
    rgb = np.clip(np.asarray(paint.rgb) + rng.normal(0, JITTER, 3), 0, 255)
    return replace(paint, rgb=tuple(float(value) for value in rgb))


def random_place(rng: np.random.Generator) -> tuple[tuple[float, float], float]:
    """(centre, size): 40 to 70 % of the side, wholly inside the frame with a margin of 3 %."""
    size = float(rng.uniform(0.42, 0.72))
    low, high = size / 2 + 0.03, 1 - size / 2 - 0.03
    return (float(rng.uniform(low, high)), float(rng.uniform(low, high))), size


def random_background(paint: Paint, rng: np.random.Generator) -> Paint:
    """One of the trained backgrounds that stands out from `paint`."""
    choices = [name for name in BACKGROUNDS if distance(TRAINED_COLOURS[name], paint.rgb) > MIN_CONTRAST]
    name = str(rng.choice(choices))
    return Paint(name, TRAINED_COLOURS[name])


def unnamed_paint(rng: np.random.Generator) -> Paint:
    """Any colour of the cube but those near a held-out one: the model must be able to draw more than it can name."""
    while True:
        rgb = tuple(float(value) for value in rng.uniform(0, 255, 3))
        if min(distance(rgb, held_out) for held_out in HELD_OUT_COLOURS.values()) > HELD_OUT_DISTANCE:
            return Paint("", rgb)


def trained_paint(rng: np.random.Generator) -> Paint:
    """A plain, a composed or an unnamed paint."""
    plain, composed = trained_paints()
    kind = rng.random()
    if kind < UNNAMED_SHARE:
        return unnamed_paint(rng)
    pool = composed if kind < UNNAMED_SHARE + COMPOSED_SHARE else plain
    return pool[rng.integers(len(pool))]


def trained_scene(rng: np.random.Generator) -> Scene:
    """One scene of the trained world, its colours jittered."""
    paint = trained_paint(rng)
    background = random_background(paint, rng)
    centre, size = random_place(rng)
    shape = str(rng.choice(TRAINED_SHAPES))
    return Scene(shape, jittered(paint, rng), jittered(background, rng), centre, size)


def caption(scene: Scene, rng: np.random.Generator) -> str:
    """Words for a scene, e.g. "a photo of a red circle on a white background"."""
    opening = "a" if rng.random() < PLAIN_WORDING else str(rng.choice(OPENINGS))
    words = " ".join(filter(None, (opening, scene.paint.name, scene.shape)))
    if rng.random() >= BACKGROUND_NAMED:
        return words
    if rng.random() < 0.85:
        return f"{words} on a {scene.background.name} background"
    return f"{words}, {scene.background.name} background"


def training_pair(rng: np.random.Generator) -> tuple[Scene, str]:
    """A trained scene and its caption."""
    scene = trained_scene(rng)
    return scene, caption(scene, rng)
