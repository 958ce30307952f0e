"""Masks of a dataset: where they lie, and the drawn ones."""

from __future__ import annotations

import random

import torch
from PIL import Image

from pivotal.data.folder import Item, image_files
from pivotal.data.inpainting import drawn_masks, inpainting_masks, mask_file, mask_path


def test_a_mask_is_the_one_that_is_named_or_the_one_beside_the_image(tmp_path):
    path, other = tmp_path / "a.b.png", tmp_path / "other.png"
    assert mask_path(path) == tmp_path / "a.b-masklabel.png"
    assert mask_file(Item(path, None)) is None
    assert mask_file(Item(path, None, mask=other)) == other
    mask_path(path).write_bytes(b"x")
    assert mask_file(Item(path, None)) == mask_path(path)
    assert mask_file(Item(path, None, mask=other)) == other


def test_a_mask_is_no_image_of_the_dataset(tmp_path):
    for name in ("a.png", "a-masklabel.png"):
        Image.new("RGB", (8, 8)).save(tmp_path / name)
    assert image_files(tmp_path) == [tmp_path / "a.png"]


def test_a_mask_from_a_file_is_told_as_it_is_and_as_zero_and_one():
    mask = torch.tensor([[[0.2, 0.5], [0.49, 1.0]]])
    (told,) = inpainting_masks(mask, (2, 2), random.Random(1))
    assert told.tolist() == [[0, 1], [0, 1]]


def test_a_quarter_of_the_drawn_masks_is_whole_and_the_rest_is_not():
    masks = [mask for seed in range(50) for mask in drawn_masks((64, 96), random.Random(seed))]
    whole = [mask for mask in masks if mask.min() == 1]
    assert len(masks) == 200
    assert len(whole) == 50
    assert all(mask.shape == (64, 96) for mask in masks)
    shares = torch.tensor([mask.mean() for mask in masks if mask.min() == 0])
    assert shares.min() > 0.01
    assert 0.2 < shares.mean() < 0.7
    assert all(set(mask.unique().tolist()) <= {0.0, 1.0} for mask in masks)
    assert len(inpainting_masks(None, (64, 96), random.Random(1))) == 4
