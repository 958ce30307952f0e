"""Courses that one writes down: what they say, and what is said of those that cannot be."""

from __future__ import annotations

import math
import random

import pytest

from pivotal.config.courses import parse_points, parse_rate_list
from pivotal.config.formula import Formula


def plain_a1111(text, max_steps):
    """A1111's learn_schedule.py, told in words: each rate lasts until its step, -1 and no step mean the end."""
    found, begin = {}, 0
    for entry in text.split(","):
        rate, _, until = entry.strip().partition(":")
        end = max_steps if until in ("", "-1") else min(int(until), max_steps)
        found |= {step: float(rate) for step in range(begin, end)}
        begin = end
    return [found.get(step, 0.0) for step in range(max_steps)]


@pytest.mark.parametrize("text", ["0.005:100, 1e-3:1000, 1e-5", "0.005", "0.005:7,1e-3:8 , 1e-5:-1", "1e-2:3, 5e-3:9"])
def test_a_list_of_rates_is_read_as_a1111_reads_it(text):
    rates = parse_rate_list(text)
    assert [rates.at(step) for step in range(1200)] == plain_a1111(text, 1200)


@pytest.mark.parametrize(("text", "word"), [
    ("", "at least one"), ("fast", "got 'fast'"), ("0.1:x", "0.005:100"), ("0.1:0", "0.005:100"),
    ("0.1, 0.2", "not the last"), ("0.1:20, 0.2:20", "must rise"), ("-0.1", "between 0 and 10"), ("nan:3", "finite"),
    ("0.1:99999999999", "0.005:100"), ("0.1:-1, 0.2", "not the last")])
def test_a_list_that_cannot_be_says_which_entry(text, word):
    with pytest.raises(ValueError, match=word):
        parse_rate_list(text)


def test_points_are_joined_by_lines():
    points = parse_points("0:0, 10%:1, 100%:0.1")
    assert [points.at(step, 100) for step in (0, 5, 10, 55, 100)] == pytest.approx([0, 0.5, 1, 0.55, 0.1])
    mixed = parse_points("20:1\n50%:0.5, 100%:2")
    assert [mixed.at(step, 200) for step in (0, 20, 60, 100, 150, 200)] == pytest.approx([1, 1, 0.75, 0.5, 1.25, 2])
    assert parse_points("30:0.5").at(3, 100) == parse_points("30:0.5").at(99, 100) == 0.5
    mixed.check(200)


@pytest.mark.parametrize(("text", "word"), [
    ("", "at least one"), ("5", "10%:1"), ("x:1", "got 'x'"), ("0:-1", "between 0 and 1000"), ("101%:1", "100%"),
    ("-3:1", "between 0 and 100%"), ("0:inf", "finite"), ("50%:1, 20:0", "must rise"), ("100:1, 200:0", "not within")])
def test_points_that_cannot_be_say_why(text, word):
    with pytest.raises(ValueError, match=word):
        parse_points(text).check(100)


def test_a_formula_is_arithmetic():
    drawn = random.Random(1)
    formula = Formula("0.5 * (1 + cos(pi * p)) if p < 0.5 else max(0.1, (1 - step / steps) ** 2) + 0 * -e")
    for _ in range(100):
        of = drawn.randint(1, 5000)
        done = drawn.randrange(of)
        p = done / of
        plain = 0.5 * (1 + math.cos(math.pi * p)) if p < 0.5 else max(0.1, (1 - p) ** 2)
        assert formula.at(done, of) == pytest.approx(plain)
    Formula("sqrt(abs(sin(10*p))) + floor(p*4)/4 + ceil(p) % 2 // 3 + exp(-p) + log(1+p) + tan(0) + min(p, 1)").check(1000)


@pytest.mark.parametrize(("text", "word"), [
    ("", "no formula"), ("p +", "no formula"), ("__import__('os')", "not understood"), ("p.real", "not understood"),
    ("(lambda: 1)()", "not understood"), ("[1][0]", "not understood"), ("q", "'q' is not understood"), ("'a' * 3", "understood"),
    ("min(p, key=1)", "understood"), ("p and 1", "understood"), ("True", "understood"), ("1" + "0" * 399, "too large"),
    ("1 +" * 200 + "1", "characters"), ("1e999", "after 0 of 1000 steps it is inf"), ("1 / p", "after 0 of 1000"),
    ("p - 0.5", "after 0 of 1000 steps it is -0.5"), ("9 ** 9 ** 9", "no value"), ("log(0.5 - p) + 99", "no value"),
    ("min(p)", "no value"), ("sqrt(1, 2)", "no value"), ("(p - 1) ** 0.5", "no value"), ("-" * 350 + "1 + 2", None)])
def test_a_formula_that_cannot_be_says_why(text, word):
    if word is None:
        assert Formula(text).at(0, 10) == 3
        return
    with pytest.raises(ValueError, match=word):
        Formula(text).check(1000)
