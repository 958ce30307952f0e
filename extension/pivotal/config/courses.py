"""Courses of a learning rate that one writes down as numbers: lists of rates, and points."""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass
from itertools import pairwise

from pivotal.config.texts import number


@dataclass(frozen=True)
class RateList:
    """Learning rates, each up to and with a step; the last may be without end (AUTOMATIC1111's learn_schedule.py)."""

    rates: tuple[tuple[float, int | None], ...]

    def at(self, done: int) -> float:
        """The rate of the step after `done` steps; 0 after the last step that is listed."""
        return next((rate for rate, until in self.rates if until is None or done < until), 0.0)


def parse_rate_list(text: str) -> RateList:
    """"0.005:100, 1e-3:1000, 1e-5": rate 0.005 for the first 100 steps, 0.001 up to step 1000, then 0.00001.

    Raises:
        ValueError: says which entry is wrong.
    """
    entries = [entry.strip() for entry in text.replace("\n", ",").split(",") if entry.strip()]
    rates: list[tuple[float, int | None]] = []
    for index, entry in enumerate(entries):
        rate, colon, until = (part.strip() for part in entry.partition(":"))
        value, last = number(rate, entry), None
        if not 0 <= value <= 10:
            raise ValueError(f"{entry!r}: a rate lies between 0 and 10")
        if colon and until != "-1":  # -1 is AUTOMATIC1111's "to the end"
            if not re.fullmatch(r"\d{1,8}", until) or int(until) < 1:
                raise ValueError(f"{entry!r}: expected a rate, a colon and a step, as 0.005:100")
            last = int(until)
        if last is None and index < len(entries) - 1:
            raise ValueError(f"{entry!r} has no step and is not the last: what follows would never come")
        if last is not None and rates and rates[-1][1] is not None and last <= rates[-1][1]:
            raise ValueError(f"{entry!r}: the steps must rise, and {rates[-1][1]} comes before")
        rates.append((value, last))
    if not rates:
        raise ValueError("needs at least one rate, as 0.005:100, 0.001")
    return RateList(tuple(rates))


@dataclass(frozen=True)
class Points:
    """A factor at places of a run, straight lines between them; each place is a step or a share of the run."""

    places: tuple[tuple[float, bool], ...]  # number, and whether it is a share (0..1) instead of a step
    factors: tuple[float, ...]

    def steps(self, of: int) -> list[float]:
        """The places in a run of `of` steps, in steps."""
        return [number * of if is_share else number for number, is_share in self.places]

    def at(self, done: float, of: int) -> float:
        """The factor of the step after `done` of `of`. Before the first point its factor, after the last one its."""
        places = self.steps(of)
        right = bisect_right(places, done)
        if right == 0 or right == len(places):
            return self.factors[max(right - 1, 0)]
        low, high = places[right - 1], places[right]
        share = (done - low) / (high - low)
        return self.factors[right - 1] * (1 - share) + self.factors[right] * share

    def check(self, of: int) -> None:
        """Raises ValueError where places do not rise, or begin after the end of a run of `of` steps."""
        places = self.steps(of)
        if any(right <= left for left, right in pairwise(places)):
            raise ValueError(f"the places must rise; in a run of {of} steps they are {', '.join(f'{at:g}' for at in places)}")
        if places[0] >= of:
            raise ValueError(f"the first place, step {places[0]:g}, is not within the run's {of} steps")


def parse_points(text: str) -> Points:
    """"0:0, 10%:1, 100%:0.1": a place, in steps or percent of the run, and the factor there.

    Raises:
        ValueError: says which point is wrong.
    """
    places, factors = [], []
    for entry in (piece.strip() for piece in text.replace("\n", ",").split(",")):
        if not entry:
            continue
        place, colon, factor = (part.strip() for part in entry.partition(":"))
        if not colon:
            raise ValueError(f"{entry!r}: expected a place, a colon and a factor, as 10%:1")
        at, value, is_share = number(place.removesuffix("%"), entry), number(factor, entry), place.endswith("%")
        if not 0 <= value <= 1000:
            raise ValueError(f"{entry!r}: a factor lies between 0 and 1000")
        if at < 0 or (is_share and at > 100):
            raise ValueError(f"{entry!r}: a place lies between 0 and 100%")
        places.append((at / 100 if is_share else at, is_share))
        factors.append(value)
    if not places:
        raise ValueError("needs at least one point, as 0:1, 100%:0.1")
    return Points(tuple(places), tuple(factors))
