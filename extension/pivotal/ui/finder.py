"""Finds an option by any word of its label, help or key, marks what differs from its default, and sets it back.

The script (javascript/pivotal_finder.js) knows no option: all that it looks through stands in the page as JSON.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any

import gradio as gr

from pivotal.config.options import Option
from pivotal.ui.gradio_compat import html, keep_out_of_ui_config, on_click
from pivotal.ui.widgets import as_typed, element_id, label_of


def draw_finder(options: Sequence[Option], title_of: Callable[[Option], str]) -> None:
    """The search field over `options`; `title_of` names the place on the page where one stands."""
    index = [_entry(option, title_of(option)) for option in options]
    html('<input class="pivotal-search" type="search" autocomplete="off" spellcheck="false" '
         'placeholder="Find an option, as: noise, clip skip, snr" aria-label="Find an option">'
         '<div class="pivotal-found" role="listbox" hidden></div>'
         f'<div hidden data-pivotal-options="{escape(json.dumps(index), quote=True)}"></div>', elem_id="pivotal_finder")


def _entry(option: Option, place: str) -> dict[str, Any]:
    default = as_typed(option, option.default)
    return {"id": element_id(option.key), "key": option.key, "label": label_of(option), "help": option.spec.help,
            "place": place, "default": default if isinstance(default, bool) else "" if default is None else str(default)}


def draw_reset(widgets: Mapping[str, Any], options: Sequence[Option]) -> None:
    """A text box and a button that a style rule hides; the script writes into the one which options shall go back to
    their defaults, parted by blanks, and presses the other."""
    keys = keep_out_of_ui_config(gr.Textbox(label="Reset", elem_id="pivotal_reset_keys", elem_classes=["pivotal-hidden"]))
    button = keep_out_of_ui_config(gr.Button("Reset", elem_id="pivotal_reset", elem_classes=["pivotal-hidden"]))

    def reset(text: str) -> list[Any]:
        wanted = set(text.split())
        return [gr.update(value=as_typed(option, option.default)) if option.key in wanted else gr.update()
                for option in options]

    on_click(button, reset, [keys], [widgets[option.key] for option in options])
