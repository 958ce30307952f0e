"""Several folders of one run: what the first one says holds for the run, and what others say otherwise for their concepts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from pivotal.config.imports.rules import BLANK, Reading
from pivotal.config.options import walk
from pivotal.config.train import TrainConfig

# Options of a run that a concept may have otherwise, by the name they have there.
_OWN = {
    "dataset.resolution": "resolution",
    **{f"caption.{name}": name for name in ("prefix", "suffix", "keep_tags", "tag_dropout", "tags_to_drop", "tags_to_keep",
                                            "shuffle", "dropout")},
    **{f"augment.{name}": name for name in ("flip", "random_crop", "rotation", "brightness", "contrast", "saturation", "hue")},
}
_USUAL = {option.key: option.default for option in walk(TrainConfig)}
_SHARED = "All folders of a run share this option; the first one's value is taken."


def take_folder(reading: Reading, mine: Reading, row: int | None, *, is_first: bool, name: str) -> None:
    """Joins what one folder says to the run.

    Args:
        row: of its concept; None: it is the run's dataset.
        is_first: whether the run has no other folder yet.
        name: of the folder, in what is told.
    """
    flat = {key: value for key, value in mine.flat.items() if value is not None}
    for key, value in flat.items():
        if is_first or key.startswith("concepts.") or key == "dataset.regularization":
            reading.flat[key] = value
        elif key not in _OWN and reading.flat.get(key, _USUAL.get(key)) != value:
            reading.leave(f"{name}: {key}", value, _SHARED)
    if is_first or row is None:
        return
    is_measured = flat.get(f"concepts.{row}.kind") == "validation"
    for key, own in _OWN.items():
        value = flat.get(key, _USUAL[key])
        if value == reading.flat.get(key, _USUAL[key]) or is_measured and key != "dataset.resolution":
            continue  # what is measured on is neither changed nor dropped
        if value in BLANK:
            reading.leave(f"{name}: {key}", value, "Empty means here that it is as in the first folder.")
        else:
            reading.flat[f"concepts.{row}.{own}"] = _as_own(value)


def _as_own(value: Any) -> Any:
    """A switch as a concept has it, which has a third choice."""
    return ("on" if value else "off") if isinstance(value, bool) else value


def tell(reading: Reading, mine: Reading, words: str = "") -> None:
    """What is told of one folder, with `words` before the settings that were not taken over."""
    reading.changed += mine.changed
    reading.unknown += [replace(one, key=f"{words}{one.key}") for one in mine.unknown]
    reading.quiet += mine.quiet

