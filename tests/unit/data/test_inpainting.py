"""Masks of a dataset: their files, the drawn ones, and which of them an image has in an epoch."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from PIL import Image

import tiny
from pivotal.data.folder import image_files
from pivotal.data.images import read_pixels
from pivotal.data.inpainting import Inpainting, cache_inpainting, drawn_masks, mask_path, read_mask
from pivotal.errors import DatasetError


def write(folder, size=(96, 64), mask=None):
    levels = np.random.default_rng(1).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    path = folder / "a.b.png"
    Image.fromarray(levels).save(path)
    if mask is not None:
        mask.save(folder / "a.b-masklabel.png")
    return path


def half(size, right):
    mask = Image.new("L", size, 0)
    mask.paste(255, (right, 0, size[0], size[1]))
    return mask


def test_a_mask_is_cut_as_its_image_is(tmp_path):
    path = write(tmp_path, mask=half((96, 64), 48))
    mask = read_mask(path, 64)
    assert mask.shape == read_pixels(path, 64)[0].shape[1:]
    assert mask[:, :32].max() == 0
    assert mask[:, 32:].min() == 1


def test_a_smaller_mask_of_the_same_form_is_taken(tmp_path):
    path = write(tmp_path, mask=half((48, 32), 24).convert("RGB"))
    assert read_mask(path, 64).mean() == 0.5


def test_a_mask_of_another_form_is_refused_and_a_missing_one_is_none(tmp_path):
    assert read_mask(write(tmp_path), 64) is None
    path = write(tmp_path, mask=half((64, 64), 32))
    with pytest.raises(DatasetError, match="64x64 px and another form than its image .96x64"):
        read_mask(path, 64)


def test_a_damaged_mask_is_named(tmp_path):
    path = write(tmp_path)
    mask_path(path).write_bytes(b"x")
    with pytest.raises(DatasetError, match=r"a\.b-masklabel\.png cannot be read"):
        read_mask(path, 64)


def test_a_mask_is_no_image_of_the_dataset(tmp_path):
    path = write(tmp_path, mask=half((96, 64), 48))
    assert image_files(tmp_path) == [path]


def test_a_quarter_of_the_drawn_masks_is_whole_and_the_rest_is_not():
    masks = [mask for seed in range(50) for mask in drawn_masks(64, random.Random(seed))]
    whole = [mask for mask in masks if mask.min() == 1]
    assert len(masks) == 200
    assert len(whole) == 50
    shares = torch.tensor([mask.mean() for mask in masks if mask.min() == 0])
    assert shares.min() > 0.01
    assert 0.2 < shares.mean() < 0.7
    assert all(set(mask.unique().tolist()) <= {0.0, 1.0} for mask in masks)


def test_every_variant_comes_in_some_epoch_and_the_same_one_when_asked_again():
    variants = tuple(torch.arange(4.0).view(4, 1, 1, 1).expand(4, 5, 8, 8) + 10 * image for image in range(2))
    inputs = Inpainting(variants, seed=3)
    seen = [inputs.at([(0, epoch), (1, epoch)])[:, 0, 0, 0].tolist() for epoch in range(40)]
    assert {one for one, _ in seen} == {0, 1, 2, 3}
    assert {other for _, other in seen} == {10, 11, 12, 13}
    assert any(other - 10 != one for one, other in seen)
    assert seen == [inputs.at([(0, epoch), (1, epoch)])[:, 0, 0, 0].tolist() for epoch in range(40)]


def test_the_cache_holds_one_input_for_a_mask_file_and_four_for_drawn_masks(tmp_path):
    model = tiny.tiny_model("sd1", inputs=9)
    drawn = write(tmp_path)
    (tmp_path / "with").mkdir()
    filed = write(tmp_path / "with", mask=half((96, 64), 48))
    told = []
    cache = cache_inpainting(model, [drawn, filed], 64, 1, progress=lambda *done: told.append(done), stopped=lambda: False)
    assert [tuple(variants.shape) for variants in cache.variants] == [(4, 5, 8, 8), (1, 5, 8, 8)]
    assert told == [(0, 2), (1, 2), (2, 2)]
    pixels, mask = read_pixels(filed, 64)[0], read_mask(filed, 64)
    assert torch.equal(cache.variants[1], model.encode_masked(pixels[None], mask[None, None]))
    whole = cache.variants[0][0]
    assert whole[0].min() == 1
    assert torch.equal(whole, model.encode_masked(torch.zeros(1, 3, 64, 64), torch.ones(1, 1, 64, 64))[0])
    assert cache_inpainting(model, [drawn], 64, 1, progress=lambda *_: None, stopped=lambda: True) is None
