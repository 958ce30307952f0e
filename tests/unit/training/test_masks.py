"""Losses of which only a part of an image counts, against sums worked out plainly."""

from __future__ import annotations

import math

import pytest
import torch

from pivotal.config.sections.mask import Mask
from pivotal.training.masks import mask_of, masked_means
from pivotal.training.seeds import generator

VALUES = torch.rand(3, 4, 5, 6, generator=generator(1, "values"))
MASKS = torch.rand(3, 1, 5, 6, generator=generator(1, "masks"))


def plain(values, masks, normalize):
    """The mean over channels and places, image by image, in loops."""
    means = []
    for image, mask in zip(values.tolist(), masks.tolist(), strict=True):
        total = sum(value * weight for channel in image for row, weights in zip(channel, mask[0], strict=True)
                    for value, weight in zip(row, weights, strict=True))
        area = sum(map(sum, mask[0])) / 30
        means.append(total / 120 / (area if normalize else 1))
    return means


@pytest.mark.parametrize("normalize", [False, True])
def test_a_masked_mean_is_the_sum_over_places(normalize):
    assert masked_means(VALUES, MASKS, normalize).tolist() == pytest.approx(plain(VALUES, MASKS, normalize), rel=1e-5)
    assert torch.equal(masked_means(VALUES, None, normalize), VALUES.mean(dim=(1, 2, 3)))


def test_an_even_error_counts_alike_under_any_mask_once_normalized():
    even = torch.full_like(VALUES, 0.37)
    assert masked_means(even, MASKS, True).tolist() == pytest.approx([0.37] * 3, rel=1e-5)


def test_a_black_mask_teaches_nothing_and_is_never_nan():
    values = VALUES.clone().requires_grad_()
    for normalize in (False, True):
        found = masked_means(values, torch.zeros_like(MASKS), normalize)
        found.sum().backward()
        assert found.tolist() == [0, 0, 0] and not values.grad.any()


def test_the_least_weight_is_a_floor_and_masks_that_are_off_are_none():
    options = Mask(source="files", unmasked_probability=0, unmasked_weight=0.25)
    found = mask_of(torch.tensor([0.0, 0.2, 0.25, 0.7, 1.0]), options, 1, 0)
    assert found.tolist() == pytest.approx([0.25, 0.25, 0.25, 0.7, 1.0])
    assert mask_of(MASKS, Mask(source="off"), 1, 0) is None and mask_of(None, options, 1, 0) is None


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 1.0])
def test_so_many_steps_as_asked_for_learn_the_whole_image(share):
    options, count = Mask(source="files", unmasked_probability=share), 10_000
    whole = sum(mask_of(MASKS, options, 3, 4 * step) is None for step in range(count))
    assert abs(whole - share * count) <= 4 * math.sqrt(count * share * (1 - share))  # 4 deviations of the binomial
    again = [mask_of(MASKS, options, 3, 4 * step) is None for step in range(50)]
    assert again == [mask_of(MASKS, options, 3, 4 * step) is None for step in range(50)]
