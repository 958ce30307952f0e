"""A curve that keeps its peaks however long it grows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby

MOST = 400  # points of a curve

Point = tuple[int, float, float]  # step, loss, smoothed loss
Rates = tuple[int, Mapping[str, float]]  # step, and a number of each trainable


def grown(points: Sequence[Point], stride: int, point: Point) -> tuple[tuple[Point, ...], int]:
    """The curve with one point more, and its stride then.

    Of each `stride` steps the lowest and the highest point stay, where they were; too many points double the stride. So a
    peak of one step in 100,000 is still seen, which a mean or every n-th point would hide. The last point is always there.
    """
    first = len(points)
    while first and points[first - 1][0] // stride == points[-1][0] // stride:
        first -= 1
    curve = (*points[:first], *_extremes(points[first:]), point)
    while len(curve) > MOST:
        stride *= 2
        *before, last = curve
        curve = (*_thinned(before, stride), last)
    return curve, stride


def _thinned(points: Sequence[Point], stride: int) -> list[Point]:
    kept: list[Point] = []
    for _, group in groupby(points, lambda point: point[0] // stride):
        kept += _extremes(list(group))
    return kept


def _extremes(points: Sequence[Point]) -> list[Point]:
    """The lowest and the highest of `points`, in their order; a loss that is no number counts as the highest."""
    if len(points) < 3:
        return list(points)
    by_loss = sorted(points, key=lambda point: (point[1] != point[1], point[1]))
    return sorted({by_loss[0], by_loss[-1]}, key=points.index)


def lengthened(points: Sequence[Rates], stride: int, point: Rates) -> tuple[tuple[Rates, ...], int]:
    """As `grown` for numbers that change slowly: of each `stride` steps one point stays; the first and the last always do."""
    settled = points if len(points) < 2 or points[-1][0] % stride == 0 else points[:-1]
    curve = (*settled, point)
    while len(curve) > MOST // 2:
        stride *= 2
        first, *between, last = curve
        curve = (first, *(kept for kept in between if kept[0] % stride == 0), last)
    return curve, stride
