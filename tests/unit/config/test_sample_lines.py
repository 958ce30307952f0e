"""Sample prompts with flags, and numbers written as text."""

from __future__ import annotations

import re

import pytest

from pivotal.config.sample_lines import SampleLine, sample_line, sample_lines
from pivotal.config.sections.loss import LossKind
from pivotal.config.texts import between, parse_mixture, parse_points


@pytest.mark.parametrize(("line", "expected"), [
    ("a cat", SampleLine("a cat")),
    ("a cat --n blurry, dark --w 640 --h 512", SampleLine("a cat", "blurry, dark", 640, 512)),
    ("a cat --W 641 --H 70 --D 7 --L 7.5 --S 30 --SS DPM++ 2M",
     SampleLine("a cat", None, 640, 64, 7, 7.5, 30, "DPM++ 2M")),
    ("x --ss k_euler_a", SampleLine("x", sampler="Euler a")), ("x --ss dpmsolver++", SampleLine("x", sampler="DPM++ 2M")),
    ("--n bad", SampleLine("", "bad")), ("x --n", SampleLine("x", "")),
    ("a well-known--thing -- x", SampleLine("a well-known--thing -- x"))])
def test_a_line_is_read_as_kohya_reads_it(line, expected):
    assert sample_line(line) == expected


@pytest.mark.parametrize(("line", "words"), [
    ("x --d -1", "--d: expected a whole number, got '-1'"), ("x --w 63", "--w: expected 64 to 4096 px, got 63"),
    ("x --s 0", "--s: expected 1 to 150"), ("x --s 151", "--s: expected 1 to 150"), ("x --l 0.5", "--l: expected 1 to 30"),
    ("x --l nan", "--l: expected 1 to 30"), ("x --l seven", "--l: expected a number, got 'seven'"),
    ("x --ss pndm", "--ss: expected one of ddim, euler"), ("x --d 4294967296", "--d: expected at most 4294967295"),
    ("x --q 1", "there is no flag --q"), ("x --w 64 --w 72", "--w stands there twice")])
def test_a_bad_flag_is_said(line, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        sample_line(line)


def test_comments_are_passed_over_and_a_bad_line_is_named():
    assert sample_lines(["# red", "a", "  # blue", "", "b --s 3"]) == [SampleLine("a"), SampleLine("b", steps=3)]
    with pytest.raises(ValueError, match=r"line 3: --s: .*got 'x'"):
        sample_lines(["# red", "a", "b --s x"])


def test_a_mixture_is_kinds_with_weights():
    kinds = LossKind.__args__
    assert parse_mixture("mse 0.7, smooth l1 .3,", kinds) == {"mse": 0.7, "smooth l1": 0.3} and parse_mixture(" ", kinds) == {}
    for text, words in (("mse", "expected a kind"), ("l2 1", "expected a kind"), ("mse x", "expected a number"),
                        ("mse -1", "0 or more"), ("mse nan", "finite"), ("mse 1, mse 2", "twice"), ("mse 0", "above 0")):
        with pytest.raises(ValueError, match=words):
            parse_mixture(text, kinds)


def test_points_are_joined_by_lines():
    points = parse_points("0:1, 500:0.5,1000:2", 1000)
    assert points == ((0, 1), (500, 0.5), (1000, 2)) and parse_points("", 1000) == ()
    assert [between(points, place) for place in (0, 250, 500, 900, 1000)] == pytest.approx([1, 0.75, 0.5, 1.7, 2])
    assert between(((10, 3.0), (20, 4.0)), 5) == 3 and between(((10, 3.0),), 50) == 3
    for text, words in (("5", "place:weight"), ("5:1, 5:2", "must rise"), ("5:1, 3:2", "must rise"), ("1001:1", "from 0 to 1000"),
                        ("-1:1", "from 0"), ("1:-1", "0 or more"), ("a:1", "expected a number"), ("1:inf", "finite")):
        with pytest.raises(ValueError, match=words):
            parse_points(text, 1000)
