"""Numbers that are written as one line of text: mixtures and points."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

Points = tuple[tuple[float, float], ...]


def parse_mixture(text: str, kinds: Sequence[str]) -> dict[str, float]:
    """``mse 0.7, l1 0.3`` as {"mse": 0.7, "l1": 0.3}; empty for an empty text.

    Raises:
        ValueError: says what was expected and what was seen.
    """
    found: dict[str, float] = {}
    for part in _parts(text):
        name, _, number = part.rpartition(" ")
        name = name.strip()
        if name not in kinds:
            raise ValueError(f"expected a kind ({', '.join(kinds)}) and its weight in {part!r}, as {kinds[0]} 0.7")
        if name in found:
            raise ValueError(f"{name} stands there twice")
        found[name] = _weight(number, part)
    if found and not any(found.values()):
        raise ValueError("needs a weight above 0")
    return found


def parse_points(text: str, last: float) -> Points:
    """``0:1, 500:0.5`` as ((0, 1), (500, 0.5)), places rising and within 0..`last`; () for an empty text.

    Raises:
        ValueError: says what was expected and what was seen.
    """
    points = []
    for part in _parts(text):
        place, colon, value = part.partition(":")
        if not colon:
            raise ValueError(f"expected place:weight, as 500:0.5; got {part!r}")
        where = number(place, part)
        if not 0 <= where <= last:
            raise ValueError(f"expected a place from 0 to {last:g} in {part!r}")
        points.append((where, _weight(value, part)))
    for (before, _), (after, _) in pairwise(points):
        if after <= before:
            raise ValueError(f"places must rise; {after:g} comes after {before:g}")
    return tuple(points)


def between(points: Points, place: float) -> float:
    """The value at `place`, on straight lines between `points`, level before the first and after the last."""
    for (left, low), (right, high) in pairwise(points):
        if left <= place <= right:
            return low + (high - low) * (place - left) / (right - left)
    return points[0][1] if place < points[0][0] else points[-1][1]


def _parts(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _weight(text: str, part: str) -> float:
    value = number(text, part)
    if value < 0:
        raise ValueError(f"expected a weight of 0 or more in {part!r}")
    return value


def number(text: str, part: str) -> float:
    """The number that `text`, a piece of `part`, is.

    Raises:
        ValueError: it is none, or not a finite one.
    """
    try:
        value = float(text)
    except ValueError:
        raise ValueError(f"expected a number in {part!r}, got {text.strip()!r}") from None
    if not math.isfinite(value):
        raise ValueError(f"expected a finite number in {part!r}")
    return value
