"""What is derived from the options: flags, the README's table, the API's schema, a file's metadata."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pivotal.config.build import options_of
from pivotal.config.options import Option, everything, flatten, tables, walk
from pivotal.errors import OptionError


def range_text(option: Option) -> str:
    """The values an option takes, in words: ``1 .. 75``, ``pad, repeat``, ``more than 0``."""
    if option.choices:
        return ", ".join(map(str, option.choices))
    low, high, above = option.spec.ge, option.spec.le, option.spec.above
    ends = ["" if end is None else f"{end:g}" if abs(end) < 1e6 else str(end) for end in (low, high)]
    if above is not None:
        ends[0] = f"more than {above:g}"
    text = "" if ends == ["", ""] else " .. ".join(ends).strip()
    return f"{text} {option.spec.unit}".strip()


def default_text(option: Option) -> str:
    """An option's default as one writes it in a run file."""
    if option.default is None or option.default in ("", ()):
        return ""
    return str(option.default).lower() if option.type is bool else str(option.default)


def tip_text(option: Option) -> str:
    """What stands behind an option's help: its key, values with their unit, default and source, a line each."""
    told = (("Values", range_text(option)), ("Default", default_text(option)), ("Source", option.spec.source))
    return "\n".join([option.key, *(f"{name}: {text}" for name, text in told if text)])


def docs_table(config: type) -> str:
    """The README's table of all options, in Markdown."""
    lines = ["| Option | Default | Values | What it does |", "|---|---|---|---|"]
    for option in everything(config):
        source = f" ({option.spec.source})" if option.spec.source else ""
        default = f"`{default_text(option)}`" if default_text(option) else ""
        lines.append(f"| `{option.key}` | {default} | {range_text(option)} | {option.spec.help}{source} |")
    return "\n".join(lines)


def add_flags(parser: argparse.ArgumentParser, config: type) -> None:
    """A flag ``--noise.offset`` for each option outside tables; absent flags stay absent."""
    for option in walk(config):
        default = default_text(option)
        text = option.spec.help + (f" Default: {default}." if default else "")
        parser.add_argument(option.flag, dest=option.key, default=argparse.SUPPRESS,
                            metavar=option.type.__name__.upper(), help=text.replace("%", "%%"))


def flags_to_flat(words: Iterable[str]) -> tuple[dict[str, str], list[str]]:
    """``--embeddings.0.placeholder x --seed=3`` as {"embeddings.0.placeholder": "x", "seed": "3"}, and what is left."""
    flat: dict[str, str] = {}
    left: list[str] = []
    pending: str | None = None
    for word in words:
        if pending is not None:
            flat[pending], pending = word, None
        elif word.startswith("--"):
            name, equals, value = word[2:].partition("=")
            if equals:
                flat[name.replace("-", "_")] = value
            else:
                pending = name.replace("-", "_")
        else:
            left.append(word)
    if pending is not None:
        left.append(f"--{pending}")
    return flat, left


def refuse_flags(words: Sequence[str], command: str) -> None:
    """Raises OptionError for the first of `words`, which argparse has left over, under its own name."""
    if words:
        raise OptionError({words[0]: f"is no flag of {command}; see install.py {command} --help"})


def _entry(option: Option) -> dict[str, Any]:
    names = {int: "integer", float: "number", bool: "boolean", str: "string", tuple: "array"}
    kind: Any = names[option.type]
    entry: dict[str, Any] = {"type": [kind, "null"] if option.optional else kind, "title": option.label,
                             "description": option.spec.help,
                             "default": list(option.default) if option.type is tuple else option.default}
    if option.type is tuple:
        entry["items"] = {"type": "string"}
    if option.choices:
        entry["enum"] = [*option.choices, *([None] if option.optional else [])]
    spec = option.spec
    limits = {"minimum": spec.ge, "maximum": spec.le, "exclusiveMinimum": spec.above}
    return entry | {name: limit for name, limit in limits.items() if limit is not None}


def json_schema(config: type) -> dict[str, Any]:
    """For the HTTP API: a plain dict, keyed by dotted option, so that no pydantic model is declared."""
    properties = {option.key: _entry(option) for option in walk(config)}
    for table in tables(config):
        row = {option.key: _entry(option) for option in walk(table.section)}
        properties[table.key] = {"type": "array", "items": {"type": "object", "additionalProperties": False,
                                                            "properties": row}}
    return {"type": "object", "additionalProperties": False, "properties": properties}


def metadata(config: Any) -> dict[str, str]:
    """What a saved file says of its training: every option under our key, and under ``ss_*`` where one exists.

    Files and folders are left out: a result is given away, and the names on somebody's disk are nobody's business.
    """
    values: Mapping[str, Any] = flatten(config)
    options = [option for option in options_of(type(config), values).values() if option.spec.widget != "folder"]
    ours = {f"pivotal.{option.key}": _text(values[option.key]) for option in options}
    # kohya writes None where nothing is set; so do its readers expect it
    theirs = {option.spec.ss: _text(values[option.key]) or "None" for option in options if option.spec.ss}
    return ours | theirs


def _text(value: Any) -> str:
    if value is None:
        return ""
    return "\n".join(value) if isinstance(value, tuple) else str(value)
