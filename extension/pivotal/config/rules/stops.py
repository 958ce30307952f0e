"""What is wrong with when a run or a part of it stops."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pivotal.config.train import TrainConfig


def length_problems(config: TrainConfig) -> dict[str, str]:
    """Problems of how long a run lasts, by key."""
    length = config.length
    if length.epochs is not None and length.images is not None:
        return {"length.images": f"the run has {length.epochs:g} epochs already; leave one of the two empty"}
    return {}


def stop_problems(key: str, after: float | None, unit_key: str, unit: str) -> dict[str, str]:
    """Problems of "stop after so many of a unit", by key."""
    if after is not None and unit == "never":
        return {unit_key: f"stop after {after:g} needs a unit other than never"}
    if after is None and unit != "never":
        return {key: f"needs a number of {unit}, or the unit never"}
    if after is not None and unit == "percent" and after > 100:
        return {key: f"expected at most 100 percent, got {after:g}"}
    return {}
