"""From a file to pixels."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from pivotal.data.images import read_pixels, square, upright_rgb


def test_the_middle_square_is_cut_after_the_short_edge_is_scaled():
    image = Image.fromarray(np.tile(np.arange(200, dtype=np.uint8), (100, 1))).convert("RGB")
    cut, crop = square(image, 50)
    assert cut.size == (50, 50) and crop.original == (100, 200) and crop.offset == (0, 25)
    # 200 columns become 100; the square shows columns 25..75 of them, in the original 50..150
    assert np.asarray(cut)[25, :, 0] == pytest.approx(np.arange(50.5, 150, 2), abs=1.5)


def test_an_image_is_turned_as_its_exif_says(tmp_path):
    image = Image.new("RGB", (64, 32), "red")
    image.paste("blue", (0, 0, 8, 32))  # a stripe on the left
    exif = Image.Exif()
    exif[274] = 6  # turned by 90 degrees clockwise to be looked at
    image.save(tmp_path / "x.png", exif=exif)
    with Image.open(tmp_path / "x.png") as opened:
        turned = upright_rgb(opened)
    assert turned.size == (32, 64) and turned.getpixel((16, 2)) == (0, 0, 255) and turned.getpixel((16, 60)) == (255, 0, 0)


@pytest.mark.parametrize(("mode", "fill", "expected"), [
    ("RGB", (255, 0, 127), (1.0, -1.0, -0.0039)), ("L", 0, (-1.0,) * 3), ("RGBA", (0, 0, 0, 0), (1.0,) * 3),
    ("LA", (0, 255), (-1.0,) * 3), ("1", 1, (1.0,) * 3), ("I;16", 65535, (1.0,) * 3)])
def test_every_mode_becomes_rgb_between_minus_one_and_one(tmp_path, mode, fill, expected):
    Image.new(mode, (16, 16), fill).save(tmp_path / "x.png")
    pixels, _ = read_pixels(tmp_path / "x.png", 8)
    assert pixels.shape == (3, 8, 8) and pixels.dtype == torch.float32
    assert pixels.mean(dim=(1, 2)).tolist() == pytest.approx(expected, abs=1e-3)
