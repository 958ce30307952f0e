"""Resolutions as they are typed."""

from __future__ import annotations

import pytest

from pivotal.config.resolution import parse_resolutions, resolutions_of


@pytest.mark.parametrize(("text", "expected"), [
    ("512", ((512, 512),)), (" 512 , 768 ", ((512, 512), (768, 768))), ("640x512", ((512, 640),)),
    ("640 X 512,512\u00d7640", ((512, 640), (640, 512))), ("", ()), ("  ", ())])
def test_a_side_several_and_width_by_height_are_read(text, expected):
    assert parse_resolutions(text) == expected
    assert resolutions_of(text, 1024) == (expected or ((1024, 1024),))


@pytest.mark.parametrize(("text", "word"), [
    ("big", "'big'"), ("512,", "''"), ("512x", "'512x'"), ("512x512x512", "512x512x512"), ("-512", "-512"), ("512.5", "512.5"),
    ("500", "multiple of 8, got 500"), ("56", "64 to 4096 px, got 56"), ("640x5120", "got 5120"),
    ("512, 512x512", "512 stands there twice"), ("640x512,640x512", "640x512 stands there twice")])
def test_what_is_no_resolution_is_told_with_what_was_seen(text, word):
    with pytest.raises(ValueError, match=r".") as error:
        parse_resolutions(text)
    assert word in str(error.value)
