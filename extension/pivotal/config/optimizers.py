"""What each optimizer takes when nothing is said, and the text in which one gives it more."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

Kind = Literal["adamw", "adamw 8-bit", "paged adamw 8-bit", "adam", "lion", "lion 8-bit", "paged lion 8-bit", "adafactor",
               "prodigy", "dadapt adam", "dadapt lion", "dadapt sgd", "dadapt adagrad", "schedule-free adamw",
               "schedule-free sgd", "sgd", "came", "adan", "ademamix", "stableadamw", "lamb", "tiger", "rmsprop", "adagrad",
               "other"]

FINDS_ITS_RATE = ("prodigy", "dadapt adam", "dadapt lion", "dadapt sgd", "dadapt adagrad")
SCHEDULE_FREE = ("schedule-free adamw", "schedule-free sgd")
EIGHT_BIT = ("adamw 8-bit", "paged adamw 8-bit", "lion 8-bit", "paged lion 8-bit")
SET_BY_OPTIONS = ("params", "lr")  # arguments that no text may give


@dataclass(frozen=True)
class Usual:
    """An optimizer's own values; None where it has no such thing.

    For those that find their rate `epsilon` is scaled by it. Sources: the papers, the defaults of torch, bitsandbytes,
    transformers and pytorch-optimizer, and OneTrainer's table of defaults (weight decay of AdamW 0.01, of the others 0).
    """

    beta_1: float | None = None
    beta_2: float | None = None
    beta_3: float | None = None
    epsilon: float | None = None
    weight_decay: float | None = 0.0


_ADAMW = Usual(0.9, 0.999, None, 1e-8, 0.01)
_LION = Usual(0.9, 0.99)
USUAL: Mapping[str, Usual] = {
    "adamw": _ADAMW, "adamw 8-bit": _ADAMW, "paged adamw 8-bit": _ADAMW,
    "adam": Usual(0.9, 0.999, None, 1e-8),
    "lion": _LION, "lion 8-bit": _LION, "paged lion 8-bit": _LION,
    "adafactor": Usual(0.0, None, None, 1e-30),
    "prodigy": Usual(0.9, 0.999, 0.999 ** 0.5, 1e-8),
    "dadapt adam": Usual(0.9, 0.999, None, 1e-8),
    "dadapt lion": Usual(0.9, 0.999),
    "dadapt sgd": Usual(0.9),
    # Its package has 0, which divides by zero where a gradient is zero: LoRA's first matrices in the first step.
    "dadapt adagrad": Usual(0.0, None, None, 1e-8),
    "schedule-free adamw": Usual(0.9, 0.999, None, 1e-8),
    "schedule-free sgd": Usual(0.9),
    "sgd": Usual(0.9),
    "came": Usual(0.9, 0.999, 0.9999, 1e-30),
    "adan": Usual(0.98, 0.92, 0.99, 1e-8),
    "ademamix": Usual(0.9, 0.999, 0.9999, 1e-8),
    "stableadamw": Usual(0.9, 0.99, None, 1e-8, 0.01),
    "lamb": Usual(0.9, 0.999, None, 1e-6),
    "tiger": Usual(0.965, None, None, None, 0.01),
    "rmsprop": Usual(0.0, 0.99, None, 1e-8),
    "adagrad": Usual(None, None, None, 1e-10),
    "other": Usual(weight_decay=None),
}


def kinds_with(name: str) -> tuple[str, ...]:
    """The optimizers that have a value of this name ("beta_2")."""
    return tuple(kind for kind, usual in USUAL.items() if getattr(usual, name) is not None)


def usual_text(name: str) -> str:
    """What the optimizers take for `name`, most common first: "0.9; adan 0.98; ..."."""
    kinds: dict[float, list[str]] = {}
    for kind in kinds_with(name):
        if kind not in EIGHT_BIT:  # as their namesakes
            kinds.setdefault(getattr(USUAL[kind], name), []).append(kind)
    ordered = sorted(kinds.items(), key=lambda item: -len(item[1]))
    others = [f"{', '.join(names)} {value:.4g}" for value, names in ordered[1:]]
    return "; ".join([f"{ordered[0][0]:.4g}", *others])


def resolved(settings: Any) -> Usual:
    """The values that a run's optimizer works with: those that are set, else its own.

    Args:
        settings: the section of options, `config.sections.training.Optimizer`.
    """
    own = USUAL[settings.kind]
    given = {field.name: getattr(settings, field.name) for field in fields(Usual)}
    if settings.kind == "prodigy" and given["beta_2"] is not None and given["beta_3"] is None:
        given["beta_3"] = given["beta_2"] ** 0.5  # Mishchenko and Defazio 2023: the root of beta 2
    return Usual(**{name: getattr(own, name) if value is None else value for name, value in given.items()})


def described(settings: Any) -> str:
    """The optimizer with the values that decide, for a file's metadata: "adamw(beta_1=0.9, ...)"."""
    values = resolved(settings)
    named = {field.name: getattr(values, field.name) for field in fields(Usual)}
    parts = [f"{name}={value:g}" for name, value in named.items() if value is not None]
    name = settings.name if settings.kind == "other" else settings.kind
    return f"{name}({', '.join([*parts, *settings.arguments])})"


def parse_arguments(lines: Sequence[str]) -> dict[str, Any]:
    """``weight_decouple = True``, one a line, as {"weight_decouple": True}; text needs no quotes.

    Raises:
        ValueError: a line is no such pair, gives what options give, or comes twice.
    """
    found: dict[str, Any] = {}
    for line in lines:
        match = re.fullmatch(r"\s*([A-Za-z_]\w*)\s*=\s*(.+?)\s*", line)
        if match is None:
            raise ValueError(f"expected lines such as weight_decouple = True, got {line!r}")
        name, text = match.groups()
        if name in SET_BY_OPTIONS:
            raise ValueError(f"{name} is set by the learning rates, not here")
        if name in found:
            raise ValueError(f"{name} is given twice")
        found[name] = _literal(text)
    return found


def _literal(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):  # what literal_eval raises for a text that is none
        return text
