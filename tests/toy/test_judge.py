"""The judge that scores generated images: right on what it can know, robust to an autoencoder's blur."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageFilter

from pivotal.toy import captions, concepts
from pivotal.toy.concepts import Paint, Scene
from pivotal.toy.judge import judge

pytestmark = pytest.mark.once


def plain_scenes(count: int, shapes: tuple[str, ...], colours: dict[str, concepts.Rgb]) -> list[Scene]:
    """Every shape and colour in turn, jittered, at random places."""
    rng = np.random.default_rng(21)
    scenes = []
    for index in range(count):
        name = list(colours)[index % len(colours)]
        paint = Paint(name, colours[name])
        background = captions.random_background(paint, rng)
        centre, size = captions.random_place(rng)
        shape = shapes[(index // len(colours)) % len(shapes)]
        scenes.append(Scene(shape, captions.jittered(paint, rng), captions.jittered(background, rng), centre, size))
    return scenes


def share_right(scenes: list[Scene], images: list[np.ndarray]) -> float:
    verdicts = [judge(pixels) for pixels in images]
    return float(
        np.mean(
            [
                (seen.shape, seen.colour, seen.background) == (scene.shape, scene.paint.name, scene.background.name)
                for scene, seen in zip(scenes, verdicts, strict=True)
            ]
        )
    )


def test_judge_names_clean_renders_of_all_concepts():
    scenes = plain_scenes(384, concepts.SHAPES, concepts.COLOURS)
    assert share_right(scenes, [concepts.render(scene) for scene in scenes]) >= 0.99


@pytest.mark.parametrize("radius", [1.0, 1.6])
def test_judge_survives_blur_and_noise(radius):
    scenes = plain_scenes(360, concepts.TRAINED_SHAPES, concepts.TRAINED_COLOURS)
    rng = np.random.default_rng(22)
    images = []
    for scene in scenes:
        soft = np.asarray(Image.fromarray(concepts.render(scene)).filter(ImageFilter.GaussianBlur(radius)), np.float32)
        images.append(np.uint8(np.clip(soft + rng.normal(0, 6, soft.shape), 0, 255)))
    assert share_right(scenes, images) >= 0.95


def test_judge_sees_nothing_on_an_empty_ground():
    seen = judge(np.full((64, 64, 3), (35, 70, 215), np.uint8))
    assert (seen.shape, seen.colour, seen.background, seen.overlap) == ("", "", "blue", 0.0)


def test_judge_measures_the_colour_it_names():
    scene = Scene("square", Paint("teal", (15, 150, 150)), Paint("white", (250, 250, 250)), (0.5, 0.5), 0.6)
    seen = judge(concepts.render(scene))
    assert seen.rgb == (15, 150, 150)
    assert seen.background_rgb == (250, 250, 250)
    assert seen.overlap > 0.9
