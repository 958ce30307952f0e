"""From a file to pixels."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from pivotal.data.augment import Change
from pivotal.data.buckets import cover
from pivotal.data.images import read_picture, upright_rgb
from pivotal.errors import DatasetError


def saved(path, levels):
    Image.fromarray(levels.astype(np.uint8)).convert("RGB").save(path)
    return path


def test_the_middle_square_is_cut_after_the_short_edge_is_scaled(tmp_path):
    path = saved(tmp_path / "x.png", np.tile(np.arange(200), (100, 1)))
    fit = cover((100, 200), (50, 50))
    assert fit.scaled == (50, 100) and fit.offset == (0, 25)
    pixels = read_picture(path, fit, Change()).pixels
    assert pixels.shape == (3, 50, 50) and pixels.dtype == torch.float32
    # 200 columns become 100; the square shows columns 25..75 of them, in the original 50..150
    assert ((pixels[0, 25] + 1) * 127.5).tolist() == pytest.approx(np.arange(50.5, 150, 2), abs=1.5)


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
    pixels = read_picture(tmp_path / "x.png", cover((16, 16), (8, 8)), Change()).pixels
    assert pixels.shape == (3, 8, 8) and pixels.dtype == torch.float32
    assert pixels.mean(dim=(1, 2)).tolist() == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize(("mode", "kind", "white"), [("I;16", np.uint16, 65535), ("I", np.int32, 65535), ("F", np.float32, 1)])
def test_sixteen_bits_and_floats_keep_their_brightness(tmp_path, mode, kind, white):
    """A dark image stays dark: white is 65535, or 1, and not the brightest pixel there is; of a mask likewise."""
    levels = np.repeat([[0, 0.2 * white, 0.4 * white]], 24, axis=0).repeat(8, axis=1)
    Image.fromarray(levels.astype(kind)).save(tmp_path / "x.tif")
    with Image.open(tmp_path / "x.tif") as opened:
        assert opened.mode == mode
    picture = read_picture(tmp_path / "x.tif", cover((24, 24), (24, 24)), Change(), tmp_path / "x.tif")
    assert ((picture.pixels[0, 0, ::8] + 1) * 127.5).tolist() == pytest.approx([0, 51, 102])
    assert (picture.mask[0, 0, ::8] * 255).tolist() == pytest.approx([0, 51, 102])


def test_a_mask_file_is_scaled_and_cut_as_its_image_is(tmp_path):
    path = saved(tmp_path / "x.png", np.zeros((64, 96)))
    mask = Image.new("L", (96, 64), 0)
    mask.paste(255, (48, 0, 96, 64))
    mask.resize((48, 32), Image.Resampling.NEAREST).save(tmp_path / "m.png")  # a smaller one of the same form will do
    found = read_picture(path, cover((64, 96), (32, 32)), Change(), tmp_path / "m.png").mask
    assert found.shape == (1, 32, 32)
    assert found[:, :, :16].max() == 0 and found[:, :, 16:].min() == 1


def test_grey_in_a_mask_stays_grey_and_is_averaged(tmp_path):
    path = saved(tmp_path / "x.png", np.zeros((64, 64)))
    levels = np.random.default_rng(1).integers(0, 256, (64, 64), dtype=np.uint8)
    Image.fromarray(levels).save(tmp_path / "m.png")
    found = read_picture(path, cover((64, 64), (32, 32)), Change(), tmp_path / "m.png").mask
    assert found[0].numpy() == pytest.approx(levels.reshape(32, 2, 32, 2).mean(axis=(1, 3)) / 255, abs=0.005)


def test_transparency_is_a_mask_and_its_image_lies_on_white(tmp_path):
    image = Image.new("RGBA", (64, 64), (0, 0, 0, 255))
    image.paste((0, 0, 0, 0), (0, 0, 32, 64))
    image.save(tmp_path / "x.png")
    picture = read_picture(tmp_path / "x.png", cover((64, 64), (64, 64)), Change(), "alpha")
    assert picture.mask[0, :, :32].max() == 0 and picture.mask[0, :, 32:].min() == 1
    assert picture.pixels[:, :, :32].min() == 1 and picture.pixels[:, :, 32:].max() == -1
    Image.new("RGB", (64, 64)).save(tmp_path / "y.png")
    assert read_picture(tmp_path / "y.png", cover((64, 64), (64, 64)), Change(), "alpha").mask is None


def said(*arguments):
    with pytest.raises(DatasetError) as error:
        read_picture(*arguments)
    return str(error.value)


def test_what_cannot_be_used_is_named_with_what_is_wrong_with_it(tmp_path):
    path, fit = saved(tmp_path / "x.png", np.zeros((64, 96))), cover((64, 96), (64, 64))
    (tmp_path / "m.png").write_bytes(b"x")
    assert "m.png cannot be read" in said(path, fit, Change(), tmp_path / "m.png")
    Image.new("L", (64, 64)).save(tmp_path / "m.png")
    assert "64x64 px and another form than its image (96x64)" in said(path, fit, Change(), tmp_path / "m.png")
    Image.new("RGBA", (96, 64), (9, 9, 9, 0)).save(tmp_path / "clear.png")
    assert "wholly transparent" in said(tmp_path / "clear.png", fit, Change(), "alpha")
    saved(path, np.zeros((64, 80)))
    assert "has 80x64 px and had 96x64" in said(path, fit, Change())
    path.write_bytes(b"x")
    assert "x.png cannot be read" in said(path, fit, Change())
