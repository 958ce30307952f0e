"""Which size each image gets, against plainer computations of each rule."""

from __future__ import annotations

import itertools
import random

import pytest

from pivotal.config.sections.buckets import Buckets
from pivotal.data.buckets import cropped_share, fits, invoke_sizes, kohya_sizes, make_views, onetrainer_sizes, summary
from pivotal.data.view import Fit

KINDS = ("aspect", "no upscale", "onetrainer", "invoke", "exact sizes", "off")
# height, width; the last ones are smaller than a step, or far from every form
IMAGES = [(512, 512), (1080, 1920), (1920, 1080), (500, 500), (768, 512), (4000, 3000), (601, 599), (64, 104), (20, 300),
          (333, 4000), (5000, 41), (7, 7), (1, 1)]


def fit(image, kind="aspect", resolution=(512, 512), **settings):
    return fits([image], Buckets(kind=kind, **settings), [resolution])[0][0]


def test_the_sizes_of_kohya_at_512_are_those_of_its_rule_written_out():
    # Width, and 512 x 512 / width cut down to a multiple of 64, from 256 to 1024.
    pairs = {256: 1024, 320: 768, 384: 640, 448: 576, 512: 512, 576: 448, 640: 384, 704: 320, 768: 320, 832: 256, 896: 256,
             960: 256, 1024: 256}
    expected = {size for width, height in pairs.items() for size in ((height, width), (width, height))}
    assert kohya_sizes(512 * 512, 64, 256, 1024) == expected


def test_a_long_side_is_cut_to_the_longest_and_a_short_one_below_the_shortest_left_out():
    assert kohya_sizes(1024 * 1024, 256, 512, 1024) == {(1024, 512), (512, 1024), (1024, 768), (768, 1024), (1024, 1024)}
    assert all(min(size) >= 300 for size in kohya_sizes(512 * 512, 64, 300, 1024))


def test_the_sizes_of_invoke_go_as_far_as_the_area_does():
    assert invoke_sizes(1024 * 1024, 64, 512, 576) == {(512, 2048), (2048, 512), (576, 1792), (1792, 576)}


def test_the_sizes_of_onetrainer_have_its_forms():
    found = onetrainer_sizes(512 * 512, 8)
    assert len(found) == 17  # nine forms, the square only once
    # 512 / sqrt(1.5) = 418.05 and x 1.5 = 627.07, rounded to 8
    assert {(416, 624), (624, 416), (512, 512), (256, 1024), (1024, 256)} <= set(found)


def test_a_wide_photo_gets_the_size_next_to_its_form():
    # 1.778: 640/384 = 1.667 is nearer than 704/320 = 2.2; scaled to 683x384, 43 px of the width are cut
    assert fit((1080, 1920)) == Fit((1080, 1920), (384, 683), (0, 21), (384, 640))
    # OneTrainer compares height over width: .5625, and 1:1.75 is .571
    assert fit((1080, 1920), "onetrainer", step=8).size == (384, 680)
    assert fit((1080, 1920), "off").offset == (0, (910 - 512) // 2)


@pytest.mark.parametrize("image", [image for image in IMAGES if image[0] * image[1] > 512 * 512])
def test_an_image_goes_where_its_form_is_least_off(image):
    sizes = kohya_sizes(512 * 512, 64, 256, 1024)
    wanted = image[1] / image[0]
    found = fit(image).size
    assert abs(found[1] / found[0] - wanted) == min(abs(size[1] / size[0] - wanted) for size in sizes)
    slow = min(((abs(h / w - image[0] / image[1]), -h) for h, w in onetrainer_sizes(512 * 512, 64)))
    assert fit(image, "onetrainer").size[0] == -slow[1]


def test_an_image_that_has_a_size_of_the_list_keeps_every_pixel():
    for size in kohya_sizes(512 * 512, 64, 256, 1024):
        assert fit(size) == Fit(size, size, (0, 0), size)


def test_without_enlarging_an_image_is_only_made_smaller_and_cut():
    # S3's own example: 500 px become 448, 52 are cut off
    assert fit((500, 500), "no upscale") == Fit((500, 500), (500, 500), (26, 26), (448, 448))
    # 4000x3000 (w x h): width sqrt(512^2 x 4/3) = 591.2, height 443.4. By width: 576 x 432 -> 384, form 1.5; by height:
    # 384 x 512, form 1.333 and exact: so 512x384
    assert fit((3000, 4000), "no upscale") == Fit((3000, 4000), (384, 512), (0, 0), (384, 512))
    for image in IMAGES:
        found = fit(image, "no upscale")
        if min(image) >= 64:
            assert found.scaled[0] <= image[0] and found.scaled[1] <= image[1]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("resolution", [(512, 512), (64, 64), (1024, 768)])
def test_nothing_is_empty_distorted_or_outside(kind, resolution):
    dice = random.Random(kind)
    images = IMAGES + [(dice.randint(1, 5000), dice.randint(1, 5000)) for _ in range(300)]
    for image, step in itertools.product(images, (8, 64)):
        found = fit(image, kind, resolution, step=step)
        for side in range(2):
            assert found.size[side] > 0 and found.size[side] % 8 == 0
            assert 0 <= found.offset[side] <= found.scaled[side] - found.size[side]
        # One factor explains both sides, each rounded to a pixel.
        ends = [((part - 0.51) / whole, (part + 0.51) / whole) for part, whole in zip(found.scaled, image, strict=True)]
        assert max(low for low, _ in ends) <= min(high for _, high in ends)
        if kind in ("aspect", "off", "onetrainer", "invoke") and image != found.size:
            assert found.scaled[0] == found.size[0] or found.scaled[1] == found.size[1]


def test_exact_sizes_lose_less_than_a_latent():
    found = fit((333, 4007), "exact sizes")
    assert found == Fit((333, 4007), (333, 4007), (2, 3), (328, 4000))


def test_at_64_px_with_steps_of_64_all_images_are_squares_as_without_buckets():
    for image in IMAGES:
        assert fit(image, resolution=(64, 64)) == fit(image, "off", (64, 64))


def test_the_resolution_itself_is_always_among_the_sizes():
    assert fit((768, 768), resolution=(520, 520)).size == (520, 520)
    assert fit((1000, 1250), resolution=(512, 640)).size == (512, 640)


def test_an_image_has_a_view_at_each_resolution_and_one_of_them_in_each_epoch():
    found = fits([(512, 512)] * 5, Buckets(), [(512, 512), (768, 768), (640, 640)])
    views = make_views(found, [1.0] * 5)
    assert [(view.item, view.fit.size[0]) for view in views[:4]] == [(0, 512), (0, 768), (0, 640), (1, 512)]
    for epoch in range(30):
        due = [view for view in views if times(view, epoch)]
        assert sorted(view.item for view in due) == [0, 1, 2, 3, 4]
        assert len({view.fit.size for view in due}) == 3  # not all at the same one at once


def times(view, epoch):
    low, high = (int(e * view.rate + view.phase + 1e-9) for e in (epoch, epoch + 1))
    return high - low


@pytest.mark.parametrize(("rate", "resolutions"), [(0.1, 1), (0.25, 2), (2.5, 1), (2.5, 3), (1.0, 4), (3.0, 2), (1 / 3, 1)])
def test_images_of_any_rate_come_as_often_as_it_says_and_epochs_are_alike(rate, resolutions):
    sides = [(512 + 64 * place,) * 2 for place in range(resolutions)]
    views = make_views(fits([(512, 512)] * 20, Buckets(), sides), [rate] * 20)
    for view in views:
        assert abs(sum(times(view, epoch) for epoch in range(120)) - 120 * rate / resolutions) <= 1
    per_epoch = [sum(times(view, epoch) for view in views) for epoch in range(120)]
    assert sum(per_epoch) == pytest.approx(20 * rate * 120, abs=20)
    if resolutions == 1:
        assert max(per_epoch) - min(per_epoch) <= 1


def test_the_summary_counts_images_and_what_is_cut_off_them():
    found = [one[0] for one in fits([(512, 512), (512, 1024), (512, 512)], Buckets(kind="off"), [(512, 512)])]
    (bucket,) = summary(found)
    assert bucket.size == (512, 512) and bucket.images == 3 and bucket.cropped == pytest.approx(0.5 / 3)
    assert cropped_share(found[1]) == 0.5
    mixed = [one[0] for one in fits([(512, 512), (640, 384), (512, 512)], Buckets(), [(512, 512)])]
    assert [(bucket.size, bucket.images) for bucket in summary(mixed)] == [((512, 512), 2), ((640, 384), 1)]
