"""The words in which it is written what a setting of another trainer becomes here, and how such a table is applied.

A table (kohya_names.py, ...) maps each setting's name to one `Rule`. It is read twice: by the import of a file, and by the
table in config/SETTINGS.md, so that what a user reads and what an import does cannot differ.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Shape = Literal["one", "number", "texts", "several", "rows", "any"]
_SECRET = re.compile("api_key|huggingface_token|secret|password")  # shown to nobody, not even to its owner
BLANK = (None, "", [], {}, ())


@dataclass(frozen=True)
class Rule:
    """What one setting becomes."""

    keys: tuple[str, ...] = ()  # the options of ours that it sets; none: `text` says why
    becomes: Callable[[Any], Mapping[str, Any]] | None = None  # their value -> ours; None: told by several settings together
    text: str = ""  # why there is no option, or in what its meaning differs
    off: tuple[Any, ...] = ()  # values by which it is not used
    quiet: bool = False  # means nothing here, whatever its value
    shape: Shape = "one"  # of a setting that is read together with others


@dataclass(frozen=True)
class Told:
    """A setting of the file that somebody should know of."""

    key: str
    value: Any
    text: str


@dataclass(frozen=True)
class Imported:
    """A file of another trainer as options of ours."""

    source: str  # "kohya", "OneTrainer", "Invoke Training"
    flat: Mapping[str, Any]  # by our dotted key, unchecked
    changed: tuple[Told, ...]  # taken over, with another number or a meaning that differs
    unknown: tuple[Told, ...]  # not taken over
    quiet: tuple[Told, ...]  # without meaning here, or not used in the file


@dataclass
class Reading:
    """What is gathered while a file is read."""

    flat: dict[str, Any] = field(default_factory=dict)
    changed: list[Told] = field(default_factory=list)
    unknown: list[Told] = field(default_factory=list)
    quiet: list[Told] = field(default_factory=list)
    rest: dict[str, Any] = field(default_factory=dict)  # settings that several rules tell together

    def change(self, key: str, value: Any, text: str) -> None:
        """Tells of a setting that is taken over, with another number or meaning."""
        self.changed.append(Told(key, value, text))

    def leave(self, key: str, value: Any, text: str) -> None:
        """Tells of a setting that is not taken over."""
        self.unknown.append(Told(key, value, text))

    def done(self, source: str) -> Imported:
        return Imported(source, {key: value for key, value in self.flat.items() if value is not None},
                        tuple(self.changed), tuple(self.unknown), tuple(self.quiet))


def to(*keys: str, words: Mapping[Any, Any] | None = None, by: Callable[[Any], Any] | None = None, off: tuple[Any, ...] = (),
       text: str = "") -> Rule:
    """The same here: under each of `keys`, as it is, by a table of `words`, or computed."""
    return Rule(keys, lambda value: dict.fromkeys(keys, _worded(words, by, value)), text, off)


def _worded(words: Mapping[Any, Any] | None, by: Callable[[Any], Any] | None, value: Any) -> Any:
    if by:
        return by(value)
    if words is None:
        return value
    known = {_plain(word): ours for word, ours in words.items()}
    if _plain(value) not in known:
        raise ValueError(f"there is no such choice here; known are {', '.join(map(str, words))}")
    return known[_plain(value)]


def _plain(word: Any) -> str:
    return str(word).strip().lower()


def parts(*keys: str, text: str = "", shape: Shape = "one") -> Rule:
    """Told by several settings together; the trainer's own file does it, and may rely on the shape."""
    return Rule(keys, None, text, shape=shape)


def always(*keys: str, text: str) -> Rule:
    """Done here in any case, by those options."""
    return Rule(keys, None, text, quiet=True)


def missing(text: str, off: tuple[Any, ...] = (False, 0)) -> Rule:
    """There is no such option; `text` says what to do instead. Told only where the setting is used."""
    return Rule(text=text, off=off)


def nothing(text: str) -> Rule:
    """Has no meaning here."""
    return Rule(text=text, quiet=True)


def apply(names: Mapping[str, Rule], settings: Mapping[str, Any], reading: Reading) -> None:
    """Reads each setting by its rule; settings without a rule are told as unknown."""
    for name, value in ((str(key), value) for key, value in settings.items()):  # YAML's keys may be numbers
        rule = names.get(name) or _of_prefix(names, name)
        if rule is None:
            reading.leave(name, value, "Pivotal does not know this setting.")
        elif rule.quiet or is_off(value, rule.off):
            shown = "..." if _SECRET.search(name) else value
            reading.quiet.append(Told(name, shown, rule.text if rule.quiet else "Not used in the file."))
        elif rule.becomes:
            _take(rule, name, value, reading)
        elif rule.keys and not _is_shaped(value, rule.shape):
            reading.leave(name, value, _EXPECTED[rule.shape])
        elif rule.keys:
            reading.rest[name] = value
        else:
            reading.leave(name, value, rule.text)


_EXPECTED: Mapping[Shape, str] = {
    "one": "Expected one value.", "number": "Expected a number.", "texts": "Expected a text or a list of texts.",
    "several": "Expected one value or a list.",
    "rows": "Expected a list of settings."}


def _is_shaped(value: Any, shape: Shape) -> bool:
    if shape == "number":
        return number(value) is not None
    if shape == "rows":
        return isinstance(value, list) and all(isinstance(one, Mapping) for one in value)
    if shape in ("texts", "several") and isinstance(value, list):
        return bool(value) and not any(isinstance(one, (list, Mapping)) for one in value)
    if shape == "texts":
        return isinstance(value, str)
    return shape == "any" or not isinstance(value, (list, Mapping))


def _of_prefix(names: Mapping[str, Rule], name: str) -> Rule | None:
    """The rule of ``unet.quantization.*`` or ``unet.*`` for ``unet.quantization.layer_filter``."""
    head = name
    while "." in head:
        head = head.rpartition(".")[0]
        if f"{head}.*" in names:
            return names[f"{head}.*"]
    return None


def _take(rule: Rule, name: str, value: Any, reading: Reading) -> None:
    try:
        reading.flat |= rule.becomes(value) if rule.becomes else {}
    except (ValueError, TypeError, OverflowError) as error:
        reading.leave(name, value, f"{str(error)[:1].upper()}{str(error)[1:]}.")
        return
    if rule.text:
        reading.change(name, value, rule.text)


def is_off(value: Any, off: tuple[Any, ...] = ()) -> bool:
    """Whether a setting's value means that it is not used; 0 and "0" are the same, 0 and False are not."""
    if any(value is blank or (type(value) is type(blank) and value == blank) for blank in BLANK):
        return True
    return any((isinstance(value, bool) == isinstance(one, bool)) and (value == one or number(value) == one) for one in off)


def number(value: Any) -> float | None:
    """`value` as a finite number, where it is one or reads as one."""
    if isinstance(value, bool):
        return None
    try:
        found = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return found if math.isfinite(found) else None


def flattened(nested: Mapping[str, Any], prefix: str = "", depth: int = 0) -> dict[str, Any]:
    """Nested settings by dotted names; lists stay lists."""
    flat: dict[str, Any] = {}
    for name, value in nested.items():
        if isinstance(value, Mapping) and value and depth < 4:
            flat |= flattened(value, f"{prefix}{name}.", depth + 1)
        else:
            flat[f"{prefix}{name}"] = value
    return flat
