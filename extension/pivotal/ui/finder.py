"""Finds an option by any word of its label, help or key, marks what differs from its default, and sets it back.

The script (javascript/pivotal_finder.js) knows no option: all that it looks through stands in the page as JSON.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any

import gradio as gr

from pivotal.config.build import coerce
from pivotal.config.derived import tip_text
from pivotal.config.options import Option
from pivotal.ui.gradio_compat import html, keep_out_of_ui_config, on_click
from pivotal.ui.widgets import as_typed, element_id, label_of


def draw_finder(options: Sequence[Option], title_of: Callable[[Option], str]) -> None:
    """The search field over `options`; `title_of` names the place on the page where one stands."""
    labels = {option.key: label_of(option) for option in options}
    index = [_entry(option, title_of(option)) | _needs(option, labels) for option in options]
    html('<input class="pivotal-search" type="search" autocomplete="off" spellcheck="false" '
         'placeholder="Find an option, as: noise, clip skip, snr" aria-label="Find an option">'
         '<div class="pivotal-found" role="listbox" hidden></div>'
         f'<div hidden data-pivotal-options="{escape(json.dumps(index), quote=True)}"></div>', elem_id="pivotal_finder")


def _entry(option: Option, place: str) -> dict[str, Any]:
    default = as_typed(option, option.default)
    return {"id": element_id(option.key), "key": option.key, "label": label_of(option), "help": option.spec.help,
            "tip": tip_text(option), "place": place,
            "default": default if isinstance(default, bool) else "" if default is None else str(default)}


def _needs(option: Option, labels: Mapping[str, str]) -> dict[str, Any]:
    """When this option has no effect, for the script and in words: hidden without a value of another one, greyed with one."""
    void = [[other, [str(value) for value in values], why] for other, values, why in option.spec.void_when]
    found: dict[str, Any] = {"void": void} if void else {}
    if option.spec.shown_when is None:
        return found
    other, values = option.spec.shown_when
    words = " or ".join("on" if value is True else "off" if value is False else str(value) for value in values)
    return found | {"when": [other, [str(value) for value in values]],
                    "needs": f"Has an effect only with {labels[other]}: {words}."}


def values_text(values: Mapping[str, Any]) -> str:
    """What the form was last filled with, for the page's scripts: gradio 6 draws a section only once it is opened."""
    return json.dumps({key: str(value) if isinstance(value, float) else value for key, value in values.items()},
                      ensure_ascii=False)


def values_box(values: Mapping[str, Any]) -> Any:
    """The text box that holds `values_text`; a style rule hides it."""
    return keep_out_of_ui_config(gr.Textbox(value=values_text(values), label="Values", elem_id="pivotal_values", lines=1,
                                            elem_classes=["pivotal-hidden"]))


def draw_setting(widgets: Mapping[str, Any], options: Sequence[Option], box: Any) -> None:
    """Text boxes and buttons that a style rule hides: the script writes into the first which options shall go back to their
    defaults, parted by blanks, or into the other, as JSON, which values they shall have; and presses the button.

    Args:
        box: the one of `values_box`.
    """
    outputs = [*(widgets[option.key] for option in options), box]

    def changed(values: Mapping[str, Any], known: str) -> list[Any]:
        typed = {option.key: _shown(option, values[option.key]) for option in options if option.key in values}
        updates = [gr.update(value=typed[option.key]) if option.key in typed else gr.update() for option in options]
        return [*updates, gr.update(value=values_text(json.loads(known or "{}") | typed))]

    def reset(text: str, known: str) -> list[Any]:
        wanted = set(text.split())
        return changed({option.key: option.default for option in options if option.key in wanted}, known)

    def fill(text: str, known: str) -> list[Any]:
        return changed(json.loads(text or "{}"), known)

    for name, label, work in (("reset_keys", "Reset", reset), ("set_values", "Set", fill)):
        keys = keep_out_of_ui_config(gr.Textbox(label=label, elem_id=f"pivotal_{name}", elem_classes=["pivotal-hidden"]))
        button = keep_out_of_ui_config(gr.Button(label, elem_id=f"pivotal_{name.partition('_')[0]}",
                                                 elem_classes=["pivotal-hidden"]))
        on_click(button, work, [keys, box], outputs)


def _shown(option: Option, raw: Any) -> Any:
    """A value from the page, which may be text, as the widget takes it; text that is no value is shown as it was typed."""
    try:
        return as_typed(option, coerce(option, raw))
    except ValueError:
        return raw
