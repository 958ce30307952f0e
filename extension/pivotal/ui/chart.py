"""A run's loss as a small SVG, drawn here because no two gradios plot alike."""

from __future__ import annotations

import math
from collections.abc import Sequence

_WIDTH, _HEIGHT = 560, 200
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 10, 10, 26  # room for the axes' numbers

Point = tuple[int, float, float]  # step, loss, smoothed loss


def loss_chart(curve: Sequence[Point], measured: Sequence[tuple[int, float]] = ()) -> str:
    """Loss over steps, raw and smoothed, and the measured errors; empty for fewer than two points.

    Values that are not finite are left out: an axis cannot hold them, and the run says them in words.
    """
    points = [point for point in curve if math.isfinite(point[1]) and math.isfinite(point[2])]
    if len(points) < 2:
        return ""
    last_step = points[-1][0]
    marked = [point for point in measured if math.isfinite(point[1]) and point[0] <= last_step]
    low, high, marks = _scale([value for _, *pair in [*points, *marked] for value in pair])

    def across(step: float) -> float:
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * step / last_step

    def down(value: float) -> float:
        return _TOP + (_HEIGHT - _TOP - _BOTTOM) * (high - value) / (high - low)

    def path(column: int) -> str:
        return " ".join(f"{across(point[0]):.1f},{down(point[column]):.1f}" for point in points)

    errors = " ".join(f"{across(step):.1f},{down(error):.1f}" for step, error in marked)

    grid = "".join(
        f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{down(mark):.1f}" y2="{down(mark):.1f}"/>' for mark in marks)
    numbers = "".join(f'<text x="{_LEFT - 6}" y="{down(mark) + 3.5:.1f}" text-anchor="end">{mark:.3g}</text>'
                      for mark in marks)
    steps = "".join(f'<text x="{across(step):.1f}" y="{_HEIGHT - 8}" text-anchor="{anchor}">{step}</text>'
                    for step, anchor in ((0, "start"), (last_step // 2, "middle"), (last_step, "end")))
    return (f'<svg class="pivotal-chart" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="loss over steps">'
            f'<g class="pivotal-grid">{grid}</g><g class="pivotal-axis">{numbers}{steps}</g>'
            f'<polyline class="pivotal-raw" points="{path(1)}"/><polyline class="pivotal-smooth" points="{path(2)}"/>'
            + (f'<polyline class="pivotal-measured" points="{errors}"/>' if errors else "") + "</svg>")


def _scale(values: Sequence[float]) -> tuple[float, float, list[float]]:
    """The axis' ends and its marks: three to six round numbers."""
    low, high = min(values), max(values)
    span = (high - low) or abs(high) or 1.0
    low, high = low - 0.05 * span, high + 0.05 * span
    if min(values) >= 0:
        low = max(low, 0.0)
    rough = (high - low) / 4
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough)
    first = math.ceil(low / step)
    return low, high, [index * step for index in range(first, math.floor(high / step) + 1)]
