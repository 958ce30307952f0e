"""How a training option is declared: once, as a dataclass field; everything else is derived from it.

Standard library only, so it imports on any host, with pydantic 1, 2 or none.
"""

from __future__ import annotations

import dataclasses
import functools
import types
from collections.abc import Iterator
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

_SPEC = "option"  # the key of an option's spec in its field's metadata
_SHOWN_WHEN = "shown_when"  # likewise, of a section's
_CHAPTER = "chapter"
_FIRST_PAGE = "first_page"  # of a table


@dataclasses.dataclass(frozen=True)
class Spec:
    """What a field alone cannot say. Type, name and default stay with the field."""

    help: str
    label: str | None = None  # None: made from the field's name
    ge: float | None = None  # least allowed value, in `unit`
    le: float | None = None  # greatest allowed value, in `unit`
    above: float | None = None  # the value must be greater than this
    step: float | None = None
    unit: str = ""
    widget: Literal["auto", "text", "textarea", "folder", "sample lines"] = "auto"
    shown_when: tuple[str, tuple[Any, ...]] | None = None  # ("other.option", values)
    void_when: tuple[tuple[str, tuple[Any, ...], str], ...] = ()  # ("other.option", values, "Why this has no effect then."); the
    # form greys it. No values: whenever the other is not empty
    tokens: Literal["", "prompt", "caption"] = ""  # the text is tokenized: the form counts its tokens
    cut_to: str = ""  # in a row: the option that says how many tokens of this text are used
    filled_by: str = ""  # in a row: the option that says what is added when they are too few
    counts_as: str = ""  # in a row: this text is a word that counts as so many tokens as that option says
    source: str = ""  # paper or file that defines it
    ss: str = ""  # the key under which other trainers' users expect it in a file's metadata
    first_page: bool = False  # a beginner needs it


def option(default: Any, help: str, **spec: Any) -> Any:
    """A field that is a training option."""
    return dataclasses.field(default=default, metadata={_SPEC: Spec(help, **spec)})


def group(section: type, shown_when: tuple[str, tuple[Any, ...]] | None = None, *, chapter: str = "") -> Any:
    """A field that holds a section of options; `shown_when` holds for those of them that have none of their own.

    Args:
        chapter: heading under which this section and those after it stand in the form.
    """
    return dataclasses.field(default_factory=section, metadata={_SHOWN_WHEN: shown_when, _CHAPTER: chapter})


def chapter_of(field: dataclasses.Field[Any]) -> str:
    """The chapter that begins with `field`; empty where none does."""
    return field.metadata.get(_CHAPTER, "")


def rows(*, first_page: bool = True) -> Any:
    """A field that holds any number of sections of one type, typed ``tuple[Section, ...]``.

    Args:
        first_page: whether a beginner needs them; else they stand in a section of their own.
    """
    return dataclasses.field(default=(), metadata={_FIRST_PAGE: first_page})


@dataclasses.dataclass(frozen=True)
class Option:
    """One leaf of the tree, as the form, the command line and the docs see it."""

    key: str  # "noise.offset": YAML key, preset key, API key; in a table "embeddings.N.placeholder"
    type: type  # bool, int, float, str; or tuple for one text a line
    choices: tuple[Any, ...]
    optional: bool
    default: Any
    spec: Spec

    @property
    def flag(self) -> str:
        return "--" + self.key.replace("_", "-")

    @property
    def label(self) -> str:
        return self.spec.label or self.key.rpartition(".")[2].replace("_", " ").capitalize()


@dataclasses.dataclass(frozen=True)
class Table:
    """A field with any number of rows of options."""

    key: str
    section: type
    first_page: bool = True


def _unwrap(hint: Any) -> tuple[type, tuple[Any, ...], bool]:
    args = get_args(hint)
    if get_origin(hint) in (Union, types.UnionType) and type(None) in args:
        (inner,) = (arg for arg in args if arg is not type(None))
        kind, choices, _ = _unwrap(inner)
        return kind, choices, True
    if get_origin(hint) is Literal:
        return type(args[0]), args, False
    if get_origin(hint) is tuple:
        return tuple, (), False
    return hint, (), False


def _row_type(hint: Any) -> type | None:
    args = get_args(hint)
    return args[0] if get_origin(hint) is tuple and dataclasses.is_dataclass(args[0]) else None


@functools.lru_cache(maxsize=256)
def parts(config: type) -> tuple[tuple[dataclasses.Field[Any], Any, type | None], ...]:
    """Each field of `config` with its type, and its row type where it is a table."""
    hints = get_type_hints(config)
    return tuple((field, hints[field.name], _row_type(hints[field.name])) for field in dataclasses.fields(config))


@functools.lru_cache(maxsize=1024)  # a page, a check and a test ask for the same options again and again
def walk(config: type, prefix: str = "") -> tuple[Option, ...]:
    """Every option of `config` outside tables, in the order in which it is declared."""
    return tuple(_walk(config, prefix))


def _walk(config: type, prefix: str) -> Iterator[Option]:
    for field, hint, row in parts(config):
        if dataclasses.is_dataclass(hint):
            when = field.metadata.get(_SHOWN_WHEN)
            for inner in walk(hint, f"{prefix}{field.name}."):
                spec = inner.spec if inner.spec.shown_when else dataclasses.replace(inner.spec, shown_when=when)
                yield dataclasses.replace(inner, spec=spec)
        elif row is None:
            yield Option(prefix + field.name, *_unwrap(hint), field.default, field.metadata[_SPEC])


@functools.lru_cache(maxsize=256)
def tables(config: type, prefix: str = "") -> tuple[Table, ...]:
    """Every table of `config`, in the order in which it is declared."""
    found: list[Table] = []
    for field, hint, row in parts(config):
        if dataclasses.is_dataclass(hint):
            found += tables(hint, f"{prefix}{field.name}.")
        elif row is not None:
            found.append(Table(prefix + field.name, row, field.metadata[_FIRST_PAGE]))
    return tuple(found)


def everything(config: type) -> Iterator[Option]:
    """Every option of `config`, those of tables under ``table.N.name``."""
    yield from walk(config)
    for table in tables(config):
        yield from walk(table.section, f"{table.key}.N.")


def flatten(config: Any, prefix: str = "") -> dict[str, Any]:
    """`config` as {"noise.offset": value, "embeddings.0.placeholder": value}."""
    flat: dict[str, Any] = {}
    for field, hint, row in parts(type(config)):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(hint):
            flat |= flatten(value, f"{prefix}{field.name}.")
        elif row is not None:
            for index, item in enumerate(value):
                flat |= flatten(item, f"{prefix}{field.name}.{index}.")
        else:
            flat[prefix + field.name] = value
    return flat
