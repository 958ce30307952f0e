"""The last comparison on the disk, so that its grid is there again after a restart of the host."""

from __future__ import annotations

import dataclasses
import json
import logging
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from pivotal.formats.atomic import write_text
from pivotal.hosts.protocol import Folders

log = logging.getLogger(__name__)
T = TypeVar("T")


def record_path(folders: Folders) -> Path:
    """The file; one for the host."""
    return folders.scratch / "comparison.json"


def write_record(folders: Folders, view: Any) -> None:
    """Replaces the record by `view`; that it cannot be written costs nobody an image."""
    try:
        write_text(record_path(folders), json.dumps(_plain(view)))
    except OSError as error:
        log.warning("The comparison will not be shown after a restart: %s", error)


def read_record(folders: Folders, kind: type[T]) -> T | None:
    """What was written last; None where there is nothing that can be read, as after an update with other fields."""
    try:
        return _typed(kind, json.loads(record_path(folders).read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        log.warning("The last comparison cannot be shown: %s: %s", record_path(folders), error)
        return None


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(part) for part in value]
    return str(value) if isinstance(value, Path) else value


def _typed(kind: Any, value: Any) -> Any:
    """`value` as `kind`: dataclasses, tuples, mappings, paths and plain values.

    Raises:
        TypeError, ValueError, KeyError: it is none.
    """
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return None if value is None else _typed(next(part for part in inner if part is not type(None)), value)
    if dataclasses.is_dataclass(kind):
        hints = get_type_hints(kind)
        return kind(**{field.name: _typed(hints[field.name], value[field.name]) for field in dataclasses.fields(kind)})
    if origin is tuple:
        return tuple(_typed(inner[0], part) for part in value)
    if origin is Literal:
        if value not in inner:
            raise ValueError(f"{value!r} is none of {inner}")
        return value
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return {key: _typed(inner[1], part) for key, part in value.items()}
    if kind is float:
        return float(value)
    if not isinstance(value, str if kind is Path else kind):
        raise TypeError(f"{value!r} is no {kind}")
    return Path(value) if kind is Path else value
