"""The toy world: what is trained, what is held out, and the files that ship."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pivotal.toy import captions, concepts, demo

pytestmark = pytest.mark.once

ASSETS = Path(__file__).resolve().parents[2] / "extension" / "assets"


def words_of(text: str) -> set[str]:
    return set(text.replace(",", " ").replace("-", " ").split())


def test_no_training_caption_holds_a_held_out_word():
    rng = np.random.default_rng(3)
    seen = set().union(*(words_of(captions.training_pair(rng)[1]) for _ in range(4000)))
    new_words = {concept.word for concept in demo.CONCEPTS}
    held_out = {*concepts.HELD_OUT_COLOURS, *concepts.HELD_OUT_SHAPES, "stripes", "striped", "outline", *new_words}
    assert not seen & held_out
    assert set(concepts.TRAINED_COLOURS) | set(concepts.TRAINED_SHAPES) <= seen


def test_no_trained_scene_shows_a_held_out_concept():
    rng = np.random.default_rng(4)
    scenes = [captions.trained_scene(rng) for _ in range(2000)]
    assert {scene.finish for scene in scenes} == {"plain"}
    assert {scene.shape for scene in scenes} == set(concepts.TRAINED_SHAPES)
    plain, composed = concepts.trained_paints()
    for paint in (*plain, *composed, *(captions.unnamed_paint(rng) for _ in range(500))):
        for rgb in concepts.HELD_OUT_COLOURS.values():
            assert concepts.distance(paint.rgb, rgb) > concepts.HELD_OUT_DISTANCE


def test_a_caption_names_its_scene():
    rng = np.random.default_rng(5)
    for scene, words in (captions.training_pair(rng) for _ in range(200)):
        assert f"{scene.paint.name} {scene.shape}" in words  # the name is empty where the caption leaves the colour out
        assert "background" not in words or f"{scene.background.name} background" in words


def test_shapes_lie_wholly_inside_the_frame():
    rng = np.random.default_rng(6)
    for scene in (captions.trained_scene(rng) for _ in range(200)):
        mask = concepts.shape_mask(scene.shape, scene.centre, scene.size)
        border = np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]])
        assert border.max() == 0
        assert 0.02 < mask.mean() < 0.6


def test_a_seed_fixes_the_captions_and_the_pixels():
    first, second = (captions.training_pair(np.random.default_rng(9)) for _ in range(2))
    assert first == second
    np.testing.assert_array_equal(concepts.render(first[0]), concepts.render(second[0]))


def test_every_demo_image_has_a_caption_with_its_new_word():
    folders = sorted(path for path in (ASSETS / "demo").iterdir() if path.is_dir())
    assert [folder.name for folder in folders] == sorted(concept.word for concept in demo.CONCEPTS)
    for folder in folders:
        images = sorted(folder.glob("*.png"))
        assert 8 <= len(images) <= 16
        for image in images:
            assert folder.name in image.with_suffix(".txt").read_text(encoding="utf-8").split()
            with Image.open(image) as opened:
                assert opened.size == (concepts.SIDE, concepts.SIDE)


def test_the_shipped_demo_is_what_the_recipe_writes(tmp_path):
    for folder in demo.write_demo(tmp_path):
        for made in folder.iterdir():
            shipped = ASSETS / "demo" / folder.name / made.name
            if made.suffix == ".txt":
                assert shipped.read_text(encoding="utf-8") == made.read_text(encoding="utf-8")
            else:
                np.testing.assert_array_equal(np.asarray(Image.open(shipped)), np.asarray(Image.open(made)))
