"""A table of options: rows that a script in the page draws, as JSON in a text box that a style rule hides.

gradio 3.41 cannot add widgets to a page that is open, so the rows are the script's (javascript/pivotal_rows.js). All
that it shows, it is told here: it knows no option.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import gradio as gr

from pivotal.config.options import Option, Table, walk
from pivotal.ui.gradio_compat import html, keep_out_of_ui_config
from pivotal.ui.widgets import as_typed, element_id, is_wide, label_of, token_classes

OFF = "off"  # of a row that stays on the page and is not of the run


def rows_editor(table: Table, rows: Sequence[Mapping[str, Any]]) -> Any:
    """Draws the editor with `rows` in it; the component returned holds them as JSON."""
    identifier = element_id(table.key)
    html(f'<div class="pivotal-rows" data-pivotal-rows="{escape(json.dumps(schema(table)), quote=True)}"></div>',
         elem_id=f"{identifier}_editor")
    return keep_out_of_ui_config(gr.Textbox(value=rows_text(rows, table), label=f"{table.section.__name__} rows",
                                            elem_id=identifier, elem_classes=["pivotal-hidden"], lines=1))


def schema(table: Table) -> dict[str, Any]:
    """What the script must know of a row."""
    options = list(walk(table.section))
    switch = next((o.key for o in options if o.type is bool and o.default is True), None)
    fields = [_field(option) | {"switch": option.key == switch} for option in options]
    return {"id": element_id(table.key), "title": table.section.__name__, "fields": fields,
            "vectors": next(({"name": o.key, "count": o.spec.counts_as} for o in options if o.spec.counts_as), None),
            "can_be_off": "enabled" not in {option.key for option in options},
            "words": {"in_use": "In use", "in_use_help": "Off: stays here, and is left out of the run.",
                      "add": f"Add {table.section.__name__.lower()}", "duplicate": "Duplicate", "remove": "Delete",
                      "more": "More options"}}


def _field(option: Option) -> dict[str, Any]:
    marks = {"data-limit-from": option.spec.cut_to, "data-filled-by": option.spec.filled_by}
    kind = ("check" if option.type is bool else "choice" if option.choices
            else "number" if option.type is int else "lines" if option.type is tuple else "text")
    return {"name": option.key, "label": label_of(option), "help": option.spec.help, "kind": kind,
            "choices": list(option.choices), "default": as_typed(option, option.default), "wide": is_wide(option),
            "first": option.spec.first_page, "classes": token_classes(option),
            "marks": {mark: other for mark, other in marks.items() if other},
            "low": option.spec.ge, "high": option.spec.le, "empty": "auto" if option.optional else ""}


def rows_text(rows: Sequence[Mapping[str, Any]], table: Table) -> str:
    """The text box's value for `rows`; what a row leaves out is at its default."""
    options = list(walk(table.section))
    whole = [{o.key: as_typed(o, row.get(o.key, o.default)) for o in options} for row in rows]
    return json.dumps(whole, ensure_ascii=False)


def rows_from_flat(flat: Mapping[str, Any], table: Table) -> list[dict[str, Any]]:
    """The rows that `flat` names, in order."""
    found: dict[int, dict[str, Any]] = {}
    for key, value in flat.items():
        head, _, rest = key.partition(f"{table.key}.")
        index, _, name = rest.partition(".")
        if not head and index.isdigit():
            found.setdefault(int(index), {})[name] = value
    return [found[index] for index in sorted(found)]


def flat_from_rows(text: str, table: Table) -> dict[str, Any]:
    """The text box's value as {"embeddings.0.placeholder": raw}, unchecked; rows that are switched off are left out."""
    rows = [{name: value for name, value in row.items() if name != OFF} for row in json.loads(text or "[]") if not row.get(OFF)]
    return {f"{table.key}.{index}.{name}": value for index, row in enumerate(rows) for name, value in row.items()}
