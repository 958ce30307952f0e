"""Which of a folder's images are shown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pivotal.errors import OptionError
from pivotal.tools.dataset.changes import tags_of
from pivotal.tools.dataset.index import Found

KINDS: Mapping[str, str] = {
    "": "all", "uncaptioned": "without caption", "cut": "long captions", "small": "too small", "same": "twice, same bytes",
    "near": "nearly the same", "corrupt": "unreadable", "unmasked": "without mask",
}
_LONGEST = 1000  # letters of a search


@dataclass(frozen=True)
class Filter:
    """What the page asks for."""

    kind: str = ""  # of KINDS
    search: str = ""  # in name or caption, capitals as small letters
    tag: str = ""
    least: int = 512  # px, shorter side of an image that is not too small
    tokens: int = 75  # a caption with more is long: it takes another chunk, or is cut where the run says so


def filter_from(query: Mapping[str, Any]) -> Filter:
    """The filter in a query's strings or a body's values.

    Raises:
        OptionError: a value is none that is known.
    """
    kind = str(query.get("filter") or "")
    if kind not in KINDS:
        raise OptionError({"filter": f"expected one of {', '.join(filter(None, KINDS))} or nothing; got {kind[:40]!r}"})
    return Filter(kind, str(query.get("search") or "")[:_LONGEST], str(query.get("tag") or "")[:_LONGEST],
                  number(query, "least", 512, 1, 100_000), number(query, "tokens", 75, 1, 100_000))


def number(query: Mapping[str, Any], key: str, default: int, least: int, most: int) -> int:
    """A whole number in a query; what is empty is `default`.

    Raises:
        OptionError: it is none, or beyond the limits.
    """
    text = str(query.get(key) if query.get(key) is not None else "").strip() or str(default)
    if not (text.isascii() and text.isdigit() and len(text) < 10 and least <= int(text) <= most):
        raise OptionError({key: f"expected a whole number from {least} to {most}; got {text[:40]!r}"})
    return int(text)


def is_small(found: Found, least: int) -> bool:
    return not found.trouble and min(found.size) < least


def is_uncaptioned(found: Found) -> bool:
    return not (found.caption or "").strip()


def has_words(found: Found, filter: Filter) -> bool:
    """Whether the search and the tag are met."""
    wanted = filter.search.casefold()
    if wanted and wanted not in found.name.casefold() and wanted not in (found.caption or "").casefold():
        return False
    return not filter.tag or filter.tag in tags_of(found.caption or "")
