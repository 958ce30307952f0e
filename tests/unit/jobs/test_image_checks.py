"""What is told of images before they are encoded."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from pivotal.config.build import draft
from pivotal.config.train import TrainConfig
from pivotal.data.captions import Captions
from pivotal.data.concepts import Concept
from pivotal.data.folder import Item
from pivotal.jobs.checks.images import image_notices, mask_problems


def notices(sizes, usual=512, folder=Path("none"), **changes):
    config, _ = draft(TrainConfig, {key.replace("__", "."): value for key, value in changes.items()})
    items = [Item(folder / f"{number}.png", None, size=size) for number, size in enumerate(sizes)]
    return image_notices(config, Captions(items, [Concept()], 1), usual)


def test_images_that_fit_need_no_word():
    assert notices([(512, 512), (1080, 1920), (400, 400)]) == {}


def test_images_that_are_much_enlarged_are_counted_and_the_worst_is_named():
    found = notices([(512, 512), (300, 300), (128, 128)])["dataset.resolution"]
    assert found.startswith("2 of 3 images") and "2.png from 128x128 to 512x512 px" in found
    assert notices([(300, 300)], dataset__resolution="256") == {}
    assert notices([(300, 300)], buckets__kind="no upscale") == {}
    twice = notices([(300, 300)], dataset__resolution="512, 768")["dataset.resolution"]
    assert twice.startswith("1 of 1 images") and "768x768" in twice


def test_images_without_masks_are_counted_where_masks_are_asked_for(tmp_path):
    (tmp_path / "1-masklabel.png").write_bytes(b"x")
    sizes = [(512, 512)] * 3
    assert notices(sizes, folder=tmp_path) == {}
    found = notices(sizes, folder=tmp_path, mask__source="files")["mask.source"]
    assert found.startswith("2 of 3 images have no mask, as 0.png")


def test_masks_that_cannot_be_used_are_told_before_anything_is_loaded(tmp_path):
    config, _ = draft(TrainConfig, {"mask.source": "files"})
    items = [Item(tmp_path / f"{number}.png", None, size=(64, 96)) for number in range(6)]
    captions = Captions(items, [Concept()], 1)
    assert mask_problems(config, captions) == {}
    Image.new("L", (48, 32)).save(tmp_path / "0-masklabel.png")
    exif = Image.Exif()
    exif[274] = 6  # lies on its side
    Image.new("L", (64, 96)).save(tmp_path / "1-masklabel.png", exif=exif)
    assert mask_problems(config, captions) == {}
    Image.new("L", (64, 96)).save(tmp_path / "2-masklabel.png")
    (tmp_path / "3-masklabel.png").write_bytes(b"x")
    text = mask_problems(config, captions)["mask.source"]
    assert "2-masklabel.png has 64x96 px and another form than its image (96x64)" in text and "more" not in text
    assert "3-masklabel.png cannot be read" in text
    for number in (4, 5):
        Image.new("L", (8, 8)).save(tmp_path / f"{number}-masklabel.png")
    assert mask_problems(config, captions)["mask.source"].endswith(" And 1 more.")
    assert mask_problems(draft(TrainConfig, {})[0], captions) == {}


def test_a_cache_that_will_fill_the_memory_is_told():
    many = [(512, 512)] * 40_000  # x 128 KB
    assert "4.9 GB of memory" in notices(many)["cache.latents"]
    assert notices(many, cache__latents="disk") == {} and notices(many[:30_000]) == {}
