"""Where a mask is white, how an image is cut to it, and round parts of it; against plain arithmetic."""

from __future__ import annotations

import math
import random

import pytest
import torch
from PIL import Image, ImageDraw

from pivotal.data.augment import Change, changed_fit
from pivotal.data.buckets import cover
from pivotal.data.folder import Item
from pivotal.data.mask_area import LEAST_RADIUS, Box, box_of, cut_to, find_box, round_part


def mask_with(box, size=(200, 100), shade=255):
    image = Image.new("L", size, 0)
    ImageDraw.Draw(image).rectangle(box, fill=shade)
    return image


def test_the_box_is_around_what_is_white():
    assert box_of(mask_with((20, 10, 59, 49))) == Box(0.1, 0.1, 0.5, 0.3)
    assert box_of(mask_with((20, 10, 59, 49), shade=127)) is None and box_of(mask_with((20, 10, 59, 49), shade=128)) is not None
    assert box_of(Image.new("L", (8, 8), 255)) == Box(0, 0, 1, 1)


def test_a_box_is_found_in_a_file_and_in_the_transparency(tmp_path):
    path, mask = tmp_path / "a.png", mask_with((20, 10, 59, 49))
    image = Image.new("RGB", (200, 100), "red")
    image.putalpha(mask)
    image.save(path)
    mask.resize((100, 50)).save(tmp_path / "a-masklabel.png")
    item = Item(path, None, size=(100, 200))
    assert find_box(item, "alpha") == Box(0.1, 0.1, 0.5, 0.3)
    assert find_box(item, tmp_path / "a-masklabel.png") == pytest.approx(Box(0.1, 0.1, 0.5, 0.3), abs=0.02)
    Image.new("RGB", (200, 100)).save(tmp_path / "b.png")
    assert find_box(Item(tmp_path / "b.png", None, size=(100, 200)), "alpha") is None


@pytest.mark.parametrize(("box", "zoom"), [
    (Box(0.25, 0.25, 0.75, 0.75), 1 / 0.6),  # half of each side and a fifth of that
    (Box(0.4, 0.0, 0.6, 0.5), 1 / 0.6),  # the longer side decides
    (Box(0.45, 0.45, 0.5, 0.5), 4.0),  # no further than the image's own pixels: 2048 of them on 512
    (Box(0.0, 0.0, 1.0, 1.0), 1.0)])
def test_an_image_is_enlarged_until_the_box_fills_the_cut(box, zoom):
    fit = cover((2048, 2048), (512, 512))
    change = cut_to(box, fit, Change())
    assert change.zoom == pytest.approx(zoom)
    place = changed_fit(fit, change)
    cut = [(begin / whole, (begin + side) / whole) for begin, side, whole in
           zip(place.offset, place.size, place.scaled, strict=True)]
    assert all(low <= first + 0.002 and last - 0.002 <= high
               for (low, high), first, last in zip(cut, (box.top, box.left), (box.bottom, box.right), strict=True))


def test_a_small_image_is_not_enlarged_for_its_box():
    assert cut_to(Box(0.4, 0.4, 0.6, 0.6), cover((300, 300), (512, 512)), Change()).zoom == 1
    assert cut_to(Box(0.4, 0.4, 0.6, 0.6), cover((300, 300), (512, 512)), Change(zoom=1.3)).zoom == 1.3


def test_a_round_part_is_within_the_mask_and_within_a_circle_of_the_told_radii():
    mask = torch.zeros(1, 40, 60)
    mask[:, 5:35, 10:50] = 1
    shares = []
    for seed in range(300):
        part = round_part(mask, random.Random(seed))
        assert bool((part <= mask).all()) and part.sum() >= 1
        rows, columns = torch.nonzero(part[0], as_tuple=True)
        across = max(rows.max() - rows.min(), columns.max() - columns.min())
        assert across <= 2 * math.hypot(29, 39)
        shares.append(float(part.sum() / mask.sum()))
    assert min(shares) < 0.1 and max(shares) > 0.99 and len(set(shares)) > 50


def test_a_round_part_is_what_a_plain_loop_finds():
    mask = torch.tensor([[[0.0, 0.6, 1.0, 1.0], [0.4, 1.0, 0.0, 0.8], [1.0, 0.2, 0.0, 0.9]]])
    for seed in range(20):
        dice = random.Random(seed)
        inside = [(row, column) for row in range(3) for column in range(4) if mask[0, row, column] >= 0.5]
        centre = inside[dice.randrange(len(inside))]
        far = max(math.dist(centre, (row, column)) for row in range(3) for column in range(4) if mask[0, row, column] > 0)
        radius = far * dice.uniform(LEAST_RADIUS, 1)
        expected = [[float(mask[0, row, column]) if math.dist(centre, (row, column)) <= radius else 0.0 for column in range(4)]
                    for row in range(3)]
        assert round_part(mask, random.Random(seed))[0].tolist() == expected


def test_a_mask_without_white_stays():
    mask = torch.full((1, 4, 4), 0.3)
    assert round_part(mask, random.Random(1)) is mask
