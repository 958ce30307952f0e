"""JSON schemas of what the API answers, from the types that are answered (api/plain.py turns them into JSON)."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

Shape = Any
"""A type; a mapping of names to shapes, an object with these (``name?`` may be missing); a list with one shape."""

_PREFIX = "Pivotal"  # of our names among those of a host
_PLAIN = {str: {"type": "string"}, Path: {"type": "string"}, bool: {"type": "boolean"}, int: {"type": "integer"},
          float: {"type": ["number", "null"]}, type(None): {"type": "null"}, dict: {"type": "object"},
          bytes: {"type": "string", "format": "binary"}}


@dataclasses.dataclass(frozen=True)
class OrNull:
    """A shape that is no type, or null."""

    shape: Shape


class Shapes:
    """Makes schemas, and gathers those that have a name: one for each dataclass."""

    def __init__(self) -> None:
        self.named: dict[str, dict[str, Any]] = {}

    def schema(self, shape: Shape) -> dict[str, Any]:
        """The schema of a type, or of an object of several."""
        if isinstance(shape, Mapping):
            optional = {name.rstrip("?"): part for name, part in shape.items()}
            return {"type": "object", "properties": {name: self.schema(part) for name, part in optional.items()},
                    "required": [name for name in shape if not name.endswith("?")]}
        if isinstance(shape, OrNull):
            return {"anyOf": [self.schema(shape.shape), {"type": "null"}]}
        if isinstance(shape, list):
            return {"type": "array", "items": self.schema(shape[0])}
        if shape is Any:
            return {}
        if get_origin(shape) is None and shape in _PLAIN:
            return dict(_PLAIN[shape])
        if dataclasses.is_dataclass(shape):
            return self._reference(shape)
        return self._composed(get_origin(shape), get_args(shape))

    def _composed(self, origin: Any, inner: tuple[Any, ...]) -> dict[str, Any]:
        if origin is Literal:
            return {"type": "string", "enum": list(inner)}
        if origin in (Union, types.UnionType):
            return self._any_of(inner)
        if isinstance(origin, type) and issubclass(origin, Mapping):
            return {"type": "object", "additionalProperties": self.schema(inner[1])}
        if origin is tuple and inner[-1] is not Ellipsis:
            return {"type": "array", "items": self._any_of(tuple(dict.fromkeys(inner))), "minItems": len(inner),
                    "maxItems": len(inner)}
        return {"type": "array", "items": self.schema(inner[0])}

    def _any_of(self, inner: tuple[Any, ...]) -> dict[str, Any]:
        found = [self.schema(part) for part in inner]
        if len(found) == 1:
            return found[0]
        nullable = [one for one in found if one != {"type": "null"}]
        if len(nullable) == 1 and isinstance(nullable[0].get("type"), str) and "enum" not in nullable[0]:
            return {**nullable[0], "type": [nullable[0]["type"], "null"]}
        return nullable[0] if nullable == [{"type": ["number", "null"]}] else {"anyOf": found}

    def _reference(self, kind: type) -> dict[str, Any]:
        name = _PREFIX + kind.__name__
        if name not in self.named:
            self.named[name] = {}  # for one that holds itself
            hints = _hints(kind)
            fields = [field.name for field in dataclasses.fields(kind)]
            self.named[name] = {"type": "object", "properties": {field: self.schema(hints[field]) for field in fields},
                                "required": fields, "description": _first_line(kind)}
        return {"$ref": f"#/components/schemas/{name}"}


@cache
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)


def _first_line(thing: Any) -> str:
    return (thing.__doc__ or "").strip().partition("\n")[0]


def for_openapi_30(schema: Any) -> Any:
    """A schema of OpenAPI 3.1 in the words of 3.0, which older FastAPI describes itself in: no null, no numbers as open ends."""
    if isinstance(schema, list):
        return [for_openapi_30(item) for item in schema]
    if not isinstance(schema, Mapping):
        return schema
    made = {key: for_openapi_30(value) for key, value in schema.items()}
    if isinstance(made.get("type"), list):
        kinds = [kind for kind in made.pop("type") if kind != "null"]
        made |= {"type": kinds[0], "nullable": True} if len(kinds) == 1 else {
            "anyOf": [{"type": kind} for kind in kinds], "nullable": True}
    elif made.get("type") == "null":
        made = {"nullable": True, "enum": [None]}
    if isinstance(above := made.get("exclusiveMinimum"), (int, float)) and not isinstance(above, bool):
        made |= {"minimum": above, "exclusiveMinimum": True}
    return made
