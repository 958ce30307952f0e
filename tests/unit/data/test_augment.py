"""Random changes: what is drawn, where a changed image is cut, and that masks go with it."""

from __future__ import annotations

import colorsys
import math
import random

import numpy as np
import pytest
from PIL import Image

from pivotal.config.sections.augment import Augment
from pivotal.data.augment import Change, changed_fit, cut, draw_change, mirrored_left, recoloured
from pivotal.data.buckets import cover
from pivotal.data.images import read_picture

EVERYTHING = Augment(flip=0.5, random_crop=True, zoom=0.3, rotation=20, brightness=0.2, contrast=0.3, saturation=0.4, hue=0.1)


def drawn(settings, count=2000):
    return [draw_change(settings, random.Random(number), flip=False) for number in range(count)]


def test_nothing_is_drawn_where_nothing_is_asked_for():
    assert set(drawn(Augment())) == {Change()}
    assert Change().is_centred


def test_what_is_drawn_fills_its_range_and_stays_in_it():
    for name, low, high in (("zoom", 1, 1.3), ("angle", -20, 20), ("brightness", 0.8, 1.2), ("contrast", 0.7, 1.3),
                            ("saturation", 0.6, 1.4), ("hue", -0.1, 0.1)):
        values = [getattr(change, name) for change in drawn(EVERYTHING)]
        assert low <= min(values) < low + 0.02 * (high - low), name
        assert high >= max(values) > high - 0.02 * (high - low), name
        assert np.mean(values) == pytest.approx((low + high) / 2, abs=0.03 * (high - low)), name


def test_one_option_does_not_change_what_is_drawn_for_another():
    both = drawn(EVERYTHING, 50)
    assert [change.angle for change in both] == [change.angle for change in drawn(Augment(rotation=20), 50)]
    assert both == drawn(EVERYTHING, 50)


def test_a_random_crop_takes_every_offset_alike():
    fit = cover((100, 150), (64, 64))  # scaled to 64 x 96: 33 places
    changes = drawn(Augment(random_crop=True), 6600)
    counts = np.bincount([changed_fit(fit, change).offset[1] for change in changes], minlength=33)
    assert counts.shape == (33,) and counts.min() > 130 and counts.max() < 280
    assert all(changed_fit(fit, change).offset[0] == 0 for change in changes)


def test_a_zoomed_image_is_cut_in_its_middle():
    found = changed_fit(cover((100, 150), (64, 64)), Change(zoom=1.5))
    assert found.scaled == (96, 144) and found.offset == (16, 40)


@pytest.mark.parametrize("size", [(64, 64), (96, 64), (64, 128)])
def test_of_a_turned_image_no_border_is_ever_seen(size):
    image = Image.new("RGB", (150, 100), "white")
    for number in range(60):
        change = draw_change(Augment(rotation=180, random_crop=True), random.Random(number), flip=False)
        fit = changed_fit(cover((100, 150), size), change)
        found = cut(image.resize((fit.scaled[1], fit.scaled[0])), fit, change)
        assert found.size == (size[1], size[0])
        assert found.getextrema() == ((255, 255),) * 3, change


def test_an_image_is_turned_against_the_clock_about_the_middle_of_what_is_seen():
    image = Image.fromarray(np.tile(np.arange(200, dtype=np.uint8), (200, 1)))
    change = Change(angle=30)
    fit = changed_fit(cover((200, 200), (100, 100)), change)
    found = np.asarray(cut(image.resize((fit.scaled[1], fit.scaled[0])), fit, change)).astype(float)
    # What was on the right is above it now: seen from the middle, a step right is cos 30 across, a step down -sin 30.
    row, column = np.meshgrid(np.arange(100) - 49.5, np.arange(100) - 49.5, indexing="ij")
    # The turned square needs 136.6 px; its middle lies on a whole pixel.
    middle, scale = fit.offset[1] + 50, 200 / 137
    expected = middle * scale - 0.5 + (column * math.cos(math.radians(30)) - row * math.sin(math.radians(30))) * scale
    assert fit.scaled == (137, 137) and abs(middle - 68.5) <= 0.5
    assert np.abs(found - expected).mean() < 0.6


def test_a_mirrored_crop_begins_where_it_does_in_the_mirrored_image():
    levels = np.tile(np.arange(96), (64, 1)).astype(np.uint8)
    fit = changed_fit(cover((64, 96), (64, 64)), Change(place=(0.0, 0.25)))
    found = np.asarray(cut(Image.fromarray(levels), fit, Change(flip=True)))
    left = mirrored_left(fit)
    assert fit.offset == (0, 8) and left == 96 - 8 - 64
    assert np.array_equal(found, levels[:, ::-1][:, left : left + 64])


@pytest.mark.parametrize("change", [Change(flip=True), Change(zoom=1.25), Change(place=(0.1, 0.9)), Change(angle=90),
                                    Change(flip=True, zoom=1.2, angle=15, place=(0.7, 0.2))])
def test_a_mask_goes_where_its_image_goes(tmp_path, change):
    levels = np.zeros((80, 120), dtype=np.uint8)
    levels[10:40, 20:70] = 255
    Image.fromarray(levels).convert("RGB").save(tmp_path / "x.png")
    Image.fromarray(levels).save(tmp_path / "m.png")
    picture = read_picture(tmp_path / "x.png", cover((80, 120), (64, 64)), change, tmp_path / "m.png")
    shown = (picture.pixels[0] + 1) / 2
    assert 0.05 < shown.mean() < 0.95
    assert (shown - picture.mask[0]).abs().mean() < 0.02  # but for how the two are smoothed at their edges
    assert ((shown > 0.5) == (picture.mask[0] > 0.5)).float().mean() > 0.98


def test_a_mirrored_picture_is_the_mirror_image_of_the_other(tmp_path):
    Image.fromarray(np.random.default_rng(1).integers(0, 255, (50, 90, 3), dtype=np.uint8)).save(tmp_path / "x.png")
    fit = cover((50, 90), (64, 64))
    there = read_picture(tmp_path / "x.png", fit, Change())
    back = read_picture(tmp_path / "x.png", fit, Change(flip=True))
    assert there.pixels.equal(back.pixels.flip(-1)) and not there.pixels.equal(back.pixels)


def test_colours_change_as_the_plain_formulas_say():
    levels = np.random.default_rng(2).integers(60, 180, (8, 8, 3), dtype=np.uint8)
    image, plain = Image.fromarray(levels), levels.astype(float)
    grey = plain @ (0.299, 0.587, 0.114)
    assert np.asarray(recoloured(image, Change(brightness=1.3))) == pytest.approx(plain * 1.3, abs=1)
    assert np.asarray(recoloured(image, Change(contrast=0.5))) == pytest.approx(plain * 0.5 + grey.mean() * 0.5, abs=1.5)
    assert np.asarray(recoloured(image, Change(saturation=0.25))) == pytest.approx(
        plain * 0.25 + grey[..., None] * 0.75, abs=1.5)


def test_hue_goes_around_the_circle_and_keeps_saturation_and_value():
    image = Image.new("RGB", (4, 4), (200, 100, 50))
    found = recoloured(image, Change(hue=-0.25)).getpixel((1, 1))
    hue, saturation, value = colorsys.rgb_to_hsv(200 / 255, 100 / 255, 50 / 255)
    expected = colorsys.hsv_to_rgb((hue - 0.25) % 1, saturation, value)
    assert found == pytest.approx([255 * part for part in expected], abs=4)
    assert recoloured(image, Change()) is image
