"""From raw values, typed by a person or read from a file, to a config; every problem at once."""

from __future__ import annotations

import dataclasses
import difflib
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pivotal.config.options import Option, parts, tables, walk
from pivotal.errors import OptionError

Config = TypeVar("Config")
_MOST_ROWS = 1000  # of a table: a row's number is typed by people, and 999999999 must not make so many
_LONGEST_SHOWN = 200  # characters of a value in a sentence
_LONGEST_NAME, _LONGEST_PATH = 255, 4096  # characters that a file system takes
_NO_TEXT = (dict, list, tuple, set, bytes)
_NO_FILE_HOLDS = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff]")  # JSON can say them
_DEEPEST = 3  # levels of a nested run file: what lies deeper is no option, and may even hold itself


def coerce(option: Option, raw: Any) -> Any:
    """`raw`, from a widget, a flag or a file, as the option's type.

    Raises:
        ValueError: says what was expected and what was seen. Never a silent default.
    """
    if raw is None or (isinstance(raw, str) and not raw.strip()):
        if option.type is tuple:
            return ()
        if option.optional:
            return None
        if option.type is not str or option.choices:
            raise ValueError(f"needs a value; {option.default} is usual")
        return ""
    value = _typed(option, raw)
    if option.choices and value not in option.choices:
        raise ValueError(f"expected one of {', '.join(map(str, option.choices))}; got {_shown(raw)}")
    _in_range(option, value)
    return value


def _shown(raw: Any) -> str:
    """`raw` as a sentence can hold it."""
    text = repr(raw)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}..."


def _typed(option: Option, raw: Any) -> Any:
    if option.type is bool:
        if isinstance(raw, bool):
            return raw
        if str(raw).lower() in {"true", "false"}:
            return str(raw).lower() == "true"
        raise ValueError(f"expected true or false, got {_shown(raw)}")
    if option.type is tuple:
        lines = raw.splitlines() if isinstance(raw, str) else raw
        if not isinstance(lines, (list, tuple)) or any(isinstance(line, _NO_TEXT) for line in lines):
            raise ValueError(f"expected texts, one a line, got {_shown(raw)}")
        return tuple(_text(line).strip() for line in lines if str(line).strip())
    if option.type in (int, float):
        return _number(option, raw)
    if isinstance(raw, _NO_TEXT):
        raise ValueError(f"expected one text, got {_shown(raw)}")
    return _path(_text(raw)) if option.spec.widget == "folder" else _text(raw)


def _text(raw: Any) -> str:
    text = str(raw)
    if _NO_FILE_HOLDS.search(text):
        raise ValueError(f"holds a character that no file name or YAML can hold: {_shown(text)}")
    return text


def _path(text: str) -> str:
    typed_path(text)
    return _unquoted(text)


def typed_path(text: str) -> Path:
    """The path that somebody typed, without the quotes that Windows' "Copy as path" puts around one.

    Raises:
        ValueError: says why it can be none.
    """
    text = _unquoted(_text(text))
    if any(len(part) > _LONGEST_NAME for part in re.split(r"[\\/]", text)) or len(text) > _LONGEST_PATH:
        raise ValueError(f"is longer than any path: {_shown(text)}")
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise ValueError(f"names the home folder of somebody who is not known here: {_shown(text)}") from None


def _unquoted(text: str) -> str:
    return text.strip().strip('"')


def _number(option: Option, raw: Any) -> int | float:
    words = "a whole number" if option.type is int else "a number"
    if isinstance(raw, bool):
        raise ValueError(f"expected {words}, got {_shown(raw)}")
    try:
        value = float(raw)
    except (TypeError, ValueError):
        raise ValueError(f"expected {words}, got {_shown(raw)}") from None
    except OverflowError:  # a whole number beyond 1.8e308
        value = math.inf
    if not math.isfinite(value):
        raise ValueError(f"expected a finite number, got {_shown(raw)}")
    if option.type is float:
        return value
    if not value.is_integer():
        raise ValueError(f"expected a whole number, got {_shown(raw)}")
    # Not int(value): a float holds whole numbers exactly only up to 2^53, and seeds may be larger.
    return int(raw) if isinstance(raw, int) or re.fullmatch(r"\s*[+-]?\d+\s*", str(raw)) else int(value)


def _in_range(option: Option, value: Any) -> None:
    spec = option.spec
    if spec.ge is not None and value < spec.ge:
        raise ValueError(f"expected at least {spec.ge:g}{_unit(option)}, got {value}")
    if spec.above is not None and value <= spec.above:
        raise ValueError(f"expected more than {spec.above:g}{_unit(option)}, got {value}")
    if spec.le is not None and value > spec.le:
        raise ValueError(f"expected at most {spec.le:g}{_unit(option)}, got {value}")


def _unit(option: Option) -> str:
    return f" {option.spec.unit}" if option.spec.unit else ""


def flat_from_nested(nested: Mapping[str, Any], prefix: str = "", depth: int = 1) -> dict[str, Any]:
    """{"noise": {"offset": 1}, "embeddings": [{...}]} with dotted keys; lists of texts stay lists."""
    flat: dict[str, Any] = {}
    for name, value in nested.items():
        key = f"{prefix}{name}"
        if isinstance(value, Mapping) and depth < _DEEPEST:
            flat |= flat_from_nested(value, key + ".", depth + 1)
        elif depth < _DEEPEST and isinstance(value, list) and value and all(isinstance(item, Mapping) for item in value):
            for index, item in enumerate(value):
                flat |= flat_from_nested(item, f"{key}.{index}.", depth + 1)
        else:
            flat[key] = value
    return flat


def options_of(config: type, flat: Mapping[str, Any]) -> dict[str, Option]:
    """The options that `flat` may set: all of `config`, and those of each row that `flat` names."""
    known = {option.key: option for option in walk(config)}
    for table in tables(config):
        for index in range(_row_count(table.key, flat)):
            known |= {option.key: option for option in walk(table.section, f"{table.key}.{index}.")}
    return known


def _row_count(table: str, flat: Mapping[str, Any]) -> int:
    pattern = re.compile(re.escape(table) + r"\.([0-9]{1,9})\.")
    found = [pattern.match(key) for key in flat if key.startswith(table)]
    return max((int(match[1]) + 1 for match in found if match and int(match[1]) < _MOST_ROWS), default=0)


def problems_of(config: type, flat: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """The values of `flat` that are good, and what is wrong with the others, by key."""
    known = options_of(config, flat)
    empty_tables = {table.key for table in tables(config)}
    values, problems = {}, {}
    for key, raw in flat.items():
        if key in known:
            try:
                values[key] = coerce(known[key], raw)
            except ValueError as error:
                problems[key] = str(error)
        elif not (key in empty_tables and raw in ([], (), None)):
            near = difflib.get_close_matches(key, known, n=1)
            problems[key] = "no such option" + (f"; did you mean {near[0]}?" if near else "")
    return values, problems


def draft(config: type[Config], flat: Mapping[str, Any]) -> tuple[Config, dict[str, str]]:
    """A `config` with defaults in place of what is missing or bad, and every problem of `flat` by key.

    A config class may have a method ``problems() -> dict[key, sentence]`` for rules that span options.
    """
    values, problems = problems_of(config, flat)
    made = _assemble(config, values, flat)
    rules = getattr(made, "problems", dict)()
    # What the rules say of a key that is bad anyway is said of its default, and void.
    return made, problems | {key: text for key, text in rules.items() if key not in problems}


def build(config: type[Config], flat: Mapping[str, Any]) -> Config:
    """A `config` from {"noise.offset": ...}; what is absent keeps its default.

    Raises:
        OptionError: on unknown keys, bad values and broken rules, all of them together.
    """
    made, problems = draft(config, flat)
    if problems:
        raise OptionError(problems)
    return made


def _assemble(config: type, values: Mapping[str, Any], flat: Mapping[str, Any], prefix: str = "") -> Any:
    made: dict[str, Any] = {}
    for field, hint, row in parts(config):
        key = prefix + field.name
        if dataclasses.is_dataclass(hint):
            made[field.name] = _assemble(hint, values, flat, key + ".")
        elif row is not None:
            count = _row_count(key, flat)
            made[field.name] = tuple(_assemble(row, values, flat, f"{key}.{index}.") for index in range(count))
        elif key in values:
            made[field.name] = values[key]
    return config(**made)
