"""OneTrainer's numbers with a unit: when a part stops, and how often something is done."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pivotal.config.imports.rules import Reading, is_off, number

_MINUTES = {"SECOND": 1 / 60, "MINUTE": 1.0, "HOUR": 60.0}
_OFTEN = {"samples.every": ("steps", "epochs"), "save.every": ("steps", "epochs", "minutes"),
          "save.state_every": ("steps", "minutes"), "measure.every": ("steps",)}
_BATCHES = "OneTrainer counts batches; divided by the accumulation."


def in_our_unit(amount: float, unit: str, accumulation: int) -> tuple[float, str] | None:
    """(amount, unit of ours); None for a unit that is none."""
    if unit == "STEP":
        return max(1, round(amount / accumulation)), "steps"
    if unit == "EPOCH":
        return amount, "epochs"
    return (round(amount * _MINUTES[unit], 4), "minutes") if unit in _MINUTES else None


def stop_of(prefix: str, after_key: str, unit_key: str, rest: Mapping[str, Any], reading: Reading, accumulation: int) -> None:
    """``stop_training_after`` and its unit under our two keys."""
    name = f"{prefix}stop_training_after"
    amount, unit = rest.get(name), str(rest.get(f"{name}_unit") or "NEVER")
    if unit == "ALWAYS" or (unit != "NEVER" and number(amount) == 0):
        reading.leave(name, amount, "Switch the part off in place of stopping it at once.")
        return
    if unit == "NEVER" or is_off(amount):
        return
    converted = in_our_unit(number(amount) or 0, unit, accumulation)
    if converted is None:
        reading.leave(f"{name}_unit", unit, "There is no such unit here.")
        return
    reading.flat |= {after_key: converted[0], unit_key: converted[1]}
    if unit == "STEP" and accumulation > 1:
        reading.change(name, amount, _BATCHES)


def interval_of(name: str, key: str, rest: Mapping[str, Any], reading: Reading, accumulation: int) -> None:
    """``sample_after`` and its unit under ``samples.every_steps`` or ``samples.every_epochs``; `key` is without the unit."""
    amount, unit = number(rest.get(name)), str(rest.get(f"{name}_unit") or "MINUTE")
    if name not in rest and f"{name}_unit" not in rest:
        return
    if unit == "NEVER" or not amount:
        reading.flat[f"{key}_steps"] = 0
        return
    converted = in_our_unit(amount, unit, accumulation)
    if converted is None or converted[1] not in _OFTEN[key]:
        reading.leave(name, f"{amount:g} {unit}", f"Give it in steps ({key}_steps).")
        return
    reading.flat[f"{key}_{converted[1]}"] = converted[0]
    if converted[1] != "steps":
        reading.flat[f"{key}_steps"] = 0
    if unit == "STEP" and accumulation > 1:
        reading.change(name, amount, _BATCHES)
