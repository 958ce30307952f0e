"""What a request may hold, declared once: the API's description and the check of what comes are both made from it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pivotal.config.derived import json_schema

Schema = Mapping[str, Any]
LONGEST_PATH, LONGEST_NAME = 4096, 300  # characters
_WORDS = {"string": "a text", "boolean": "true or false", "integer": "a whole number", "number": "a number", "array": "a list",
          "object": "an object", "null": "null"}


@dataclass(frozen=True)
class Field:
    """One value of a body, a query or a path."""

    name: str
    help: str
    schema: Schema
    required: bool = False
    default: Any = None
    checked: bool = True  # off: it is described here, and checked by those who know it, with a sentence under its key


def text(name: str, help: str, most: int = LONGEST_NAME, *, required: bool = False, default: str = "") -> Field:
    """A string of at most `most` characters."""
    return Field(name, help, {"type": "string", "maxLength": most}, required, None if required else default)


def flag(name: str, help: str, *, default: bool = False) -> Field:
    """True or false."""
    return Field(name, help, {"type": "boolean", "default": default}, default=default)


def whole(name: str, help: str, least: int = 0, most: int = 10**15, *, default: int | None = None) -> Field:
    """A whole number, also as a query's digits."""
    return Field(name, help, {"type": "integer", "minimum": least, "maximum": most}, default=default)


def choice(name: str, help: str, values: Iterable[str], *, required: bool = False, default: str | None = None) -> Field:
    """One of a few words."""
    return Field(name, help, {"type": "string", "enum": list(values)}, required, default)


def or_null(field: Field) -> Field:
    """The same, or null, which is as if it were left out."""
    return Field(field.name, field.help, {**field.schema, "type": [field.schema["type"], "null"]}, field.required, field.default)


def declared(section: type, without: Sequence[str] = ()) -> tuple[Field, ...]:
    """The options of a dataclass, which its `build` checks: a problem is told under its key."""
    return tuple(Field(key, entry.get("description", ""), _as_typed(entry), default=entry.get("default"), checked=False)
                 for key, entry in json_schema(section)["properties"].items() if key not in without)


def _as_typed(entry: Schema) -> dict[str, Any]:
    """An option's values, or the same as somebody would type them into a field."""
    kept = {key: value for key, value in entry.items() if key not in ("description", "title")}
    if kept["type"] == "string":
        return kept
    typed = "one a line" if kept["type"] == "array" else "as it is typed"
    return {"anyOf": [kept, {"type": "string", "description": typed}], "default": kept.pop("default", None)}


def trouble(value: Any, schema: Schema, name: str) -> str:
    """What is wrong with `value`, in a sentence; "" when nothing is."""
    kinds = schema.get("type", ())
    kinds = (kinds,) if isinstance(kinds, str) else kinds
    if kinds and not any(_is(value, kind) for kind in kinds):
        return f"{name} must be {' or '.join(_WORDS[kind] for kind in kinds)}{_limits(schema)}"
    if value is None:
        return ""
    if "enum" in schema and value not in schema["enum"]:
        return f"{name} must be one of {', '.join(map(str, schema['enum']))}, not {str(value)[:40]!r}"
    if isinstance(value, str) and len(value) > schema.get("maxLength", len(value)):
        return f"{name} must be a text of at most {schema['maxLength']} characters"
    if type(value) in (int, float) and not schema.get("minimum", value) <= value <= schema.get("maximum", value):
        return f"{name} must be{_limits(schema)}, not {str(value)[:40]}"
    return _trouble_within(value, schema, name)


def _trouble_within(value: Any, schema: Schema, name: str) -> str:
    inner: Iterable[Any] = ()
    if isinstance(value, list) and "items" in schema:
        if len(value) > schema.get("maxItems", len(value)):
            return f"{name} must be a list of at most {schema['maxItems']}"
        inner = ((f"{name}[{index}]", item, schema["items"]) for index, item in enumerate(value))
    elif isinstance(value, dict):
        known, more = schema.get("properties", {}), schema.get("additionalProperties", True)
        missing = [key for key in schema.get("required", ()) if key not in value]
        if missing:
            return f"{name}.{missing[0]} is missing"
        inner = ((f"{name}.{str(key)[:40]}", item, known.get(key, more)) for key, item in value.items()
                 if key in known or isinstance(more, Mapping))
    return next(filter(None, (trouble(item, within, part) for part, item, within in inner)), "")


def _is(value: Any, kind: str) -> bool:
    if isinstance(value, bool):
        return kind == "boolean"
    types: Mapping[str, Any] = {"string": str, "integer": int, "number": (int, float), "array": list, "object": dict,
                                "null": type(None), "boolean": bool}
    return isinstance(value, types[kind])


def _limits(schema: Schema) -> str:
    if "maxLength" in schema:
        return f" of at most {schema['maxLength']} characters"
    return f" from {schema['minimum']} to {schema['maximum']}" if "minimum" in schema else ""


def values_of(fields: Sequence[Field], given: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    """What `given` says for each field, with defaults for what is left out or null; and what is wrong with it, or ""."""
    values: dict[str, Any] = {}
    for field in fields:
        if field.name not in given:
            if field.required:
                return {}, f"{field.name} is missing: {field.help}"
            values[field.name] = field.default
            continue
        value = given[field.name]
        if field.checked and (told := trouble(value, field.schema, field.name)):
            return {}, told
        values[field.name] = field.default if value is None else value
    return values, ""


def from_text(fields: Sequence[Field], given: Mapping[str, str]) -> tuple[dict[str, Any], str]:
    """The same for a query or a path, whose numbers are digits; what is empty is left out."""
    typed: dict[str, Any] = {}
    for field in fields:
        if given.get(field.name):
            value = given[field.name]
            is_number = field.schema.get("type") == "integer" and value.isascii() and value.isdigit() and len(value) < 16
            typed[field.name] = int(value) if is_number else value
    return values_of(fields, typed)
