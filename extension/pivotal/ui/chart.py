"""A run's curves as small SVGs, drawn here because no two gradios plot alike.

javascript/pivotal_chart.js says the values under the pointer: it finds them from the lines' points and the axes' ends.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

_WIDTH, _HEIGHT = 560, 200
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 10, 10, 26  # room for the axes' numbers
HUES = 6  # of lines that stand for parts; the style has a colour for each

Point = tuple[int, float, float]  # step, loss, smoothed loss


@dataclass(frozen=True)
class Line:
    """One curve."""

    name: str
    style: str  # its class
    points: Sequence[tuple[int, float]]  # step, value


@dataclass(frozen=True)
class _Axis:
    """Values from `low` to `high`, upwards; on a logarithmic axis these are powers of ten."""

    low: float
    high: float
    marks: Sequence[float]  # values
    is_log: bool

    def down(self, value: float) -> float:
        """px from the top."""
        at = math.log10(value) if self.is_log else value
        return _TOP + (_HEIGHT - _TOP - _BOTTOM) * (self.high - at) / (self.high - self.low)


def loss_chart(curve: Sequence[Point], measured: Sequence[tuple[int, float]] = (), *, log: bool = False) -> str:
    """Loss over steps, raw and smoothed, and the measured errors; empty for fewer than two points.

    Values that are not finite are left out: an axis cannot hold them, and the run says them in words.
    """
    points = [point for point in curve if math.isfinite(point[1]) and math.isfinite(point[2])]
    if len(points) < 2:
        return ""
    lines = [Line("loss", "pivotal-raw", [(step, loss) for step, loss, _ in points]),
             Line("smoothed", "pivotal-smooth", [(step, smooth) for step, _, smooth in points]),
             Line("measured", "pivotal-measured", [point for point in measured if point[0] <= points[-1][0]])]
    lowest = min(points, key=lambda point: point[2])
    return line_chart(lines, f"loss over {points[-1][0]} steps: smoothed {points[-1][2]:.4g} now, {lowest[2]:.4g} at its lowest "
                             f"at step {lowest[0]}", log=log)


def parts_chart(curve: Sequence[tuple[int, Mapping[str, float]]], title: str, *, log: bool = False) -> str:
    """A number of each part over steps, with a key; empty for fewer than two points."""
    names = list(dict.fromkeys(name for _, values in curve for name in values))
    lines = [Line(name, f"pivotal-hue{index % HUES}", [(step, values[name]) for step, values in curve if name in values])
             for index, name in enumerate(names)]
    chart = line_chart(lines, title, log=log)
    keys = "".join(f'<span class="pivotal-key {line.style}">{escape(line.name)}</span>' for line in lines)
    return f'<div class="pivotal-keys">{keys}</div>{chart}' if chart else ""


def line_chart(lines: Sequence[Line], title: str, *, log: bool = False) -> str:
    """Curves over steps; empty where none has two values that can be drawn.

    Args:
        title: what it shows, for those who do not see it.
        log: a logarithmic axis, without the values that are not above zero.
    """
    shown = [Line(line.name, line.style, [point for point in line.points if math.isfinite(point[1]) and
                                          (point[1] > 0 or not log)]) for line in lines]
    if all(len(line.points) < 2 for line in shown):
        return ""
    last_step = max(step for line in shown for step, _ in line.points) or 1
    axis = _axis([value for line in shown for _, value in line.points], log)

    def across(step: float) -> float:
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * step / last_step

    drawn = "".join(f'<polyline class="{line.style}" data-name="{escape(line.name, quote=True)}" points="'
                    + " ".join(f"{across(step):.1f},{axis.down(value):.1f}" for step, value in line.points) + '"/>'
                    for line in shown if line.points)
    steps = "".join(f'<text x="{across(step):.1f}" y="{_HEIGHT - 8}" text-anchor="{anchor}">{step}</text>'
                    for step, anchor in ((0, "start"), (last_step // 2, "middle"), (last_step, "end")))
    box = f"{_LEFT} {_TOP} {_WIDTH - _RIGHT} {_HEIGHT - _BOTTOM}"
    return (f'<svg class="pivotal-chart" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(title, quote=True)}" '
            f'data-box="{box}" data-steps="{last_step}" data-low="{axis.low:.9g}" data-high="{axis.high:.9g}"'
            f'{" data-log" if log else ""}>{_grid(axis)}<g class="pivotal-axis">{steps}</g>{drawn}</svg>')


def bars_chart(bars: Mapping[str, float], title: str) -> str:
    """A bar for each of some spans, the highest of which fills the picture; each says its value under the pointer."""
    values = {name: value for name, value in bars.items() if math.isfinite(value)}
    highest = max(values.values(), default=0.0)
    if not highest > 0:
        return ""
    wide, height = (_WIDTH - 20) / len(values), 110 - 30
    drawn = "".join(
        f'<g><title>{escape(name)}: {value:.4g}</title><rect x="{10 + wide * index:.1f}" '
        f'y="{8 + height * (1 - value / highest):.1f}" width="{wide - 2:.1f}" height="{height * value / highest:.1f}"/></g>'
        for index, (name, value) in enumerate(values.items()))
    names = "".join(f'<text x="{10 + wide * index:.1f}" y="104">{escape(name)}</text>' for index, name in enumerate(values))
    return (f'<svg class="pivotal-chart" viewBox="0 0 {_WIDTH} 110" role="img" aria-label="{escape(title, quote=True)}">'
            f'<g class="pivotal-bars">{drawn}</g><g class="pivotal-axis">{names}</g></svg>')


def _grid(axis: _Axis) -> str:
    lines = "".join(f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{axis.down(mark):.1f}" y2="{axis.down(mark):.1f}"/>'
                    for mark in axis.marks)
    numbers = "".join(f'<text x="{_LEFT - 6}" y="{axis.down(mark) + 3.5:.1f}" text-anchor="end">{mark:.3g}</text>'
                      for mark in axis.marks)
    return f'<g class="pivotal-grid">{lines}</g><g class="pivotal-axis">{numbers}</g>'


def _axis(values: Sequence[float], log: bool) -> _Axis:
    if not log:
        low, high, marks = _scale(values)
        return _Axis(low, high, marks, False)
    low, high = (math.log10(end) for end in (min(values), max(values)))
    room = 0.05 * ((high - low) or 1.0)
    low, high = low - room, high + room
    powers = range(math.floor(low), math.ceil(high) + 1)
    # Within a power of ten as on a linear axis; a few powers with two and five between them; thinned where they are many.
    factors = (1, 2, 5) if high - low < 3 else (1,)
    marks = (_scale([10**low, 10**high])[2] if high - low < 1 else
             [factor * 10.0**power for power in powers[::max(1, len(powers) // 6)] for factor in factors])
    return _Axis(low, high, [mark for mark in marks if mark > 0 and low <= math.log10(mark) <= high], True)


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
