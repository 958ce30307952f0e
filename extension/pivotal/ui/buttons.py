"""Buttons inside of HTML that the server draws; the page's scripts know them by their data."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from json import dumps
from typing import Any


def _button(words: str, *, main: bool = False, title: str = "", **data: str) -> str:
    classes = "pivotal-small-button pivotal-first-button" if main else "pivotal-small-button"
    attributes = "".join(f' data-pivotal-{name.replace("_", "-")}="{escape(value, quote=True)}"' for name, value in data.items())
    tip = f' title="{escape(title, quote=True)}"' if title else ""
    return f'<button type="button" class="{classes}"{tip}{attributes}>{escape(words)}</button>'


def try_button(prompt: str, words: str = "Try it") -> str:
    """Puts `prompt` into the host's txt2img and brings that to the front (javascript/pivotal_try.js)."""
    return _button(words, main=True, title="Puts the prompt into txt2img", **{"try": prompt})


def copy_button(text: str) -> str:
    """Copies `text` (javascript/pivotal_try.js)."""
    return _button("Copy", copy=text)


def add_button(words: str, field: str, line: str) -> str:
    """Adds `line` to the box of lines with the id `field` (javascript/pivotal_compare.js)."""
    return _button(words, title=line, add=field, line=line)


def page_button(words: str, page: str) -> str:
    """Shows another page of the tab: "queue" for the one with the id pivotal_page_queue (javascript/pivotal_compare.js)."""
    return _button(words, show=page)


def post_button(words: str, address: str, body: Mapping[str, Any] | None = None, *, confirm: str = "", goto: str = "",
                title: str = "", main: bool = False) -> str:
    """Posts `body` to `address` of the API (javascript/pivotal_actions.js).

    Args:
        confirm: asked first.
        goto: the page to show when it went well: "compare" for the one with the id pivotal_page_compare.
    """
    more = {name: text for name, text in (("confirm", confirm), ("goto", goto)) if text}
    more |= {"body": dumps(body)} if body is not None else {}
    return _button(words, main=main, title=title, post=address, **more)
