"""What is trained, at one look: embeddings, a network, or both. A view of two parts of the form, with no value of its own."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import gradio as gr

from pivotal.config.options import tables
from pivotal.ui.form import Form
from pivotal.ui.gradio_compat import keep_out_of_ui_config, on_change, on_choice
from pivotal.ui.rows import OFF, rows_text

EMBEDDING, NETWORK, BOTH = "Embedding", "LoRA", "Both"
_NONE, _USUAL = "none", "lora"  # of network.method


class Subject:
    """The choice that stands above the form."""

    def __init__(self) -> None:
        self.choice = keep_out_of_ui_config(gr.Radio(
            label="What to train", choices=[EMBEDDING, NETWORK, BOTH], elem_id="pivotal_subject",
            info="New words for prompts, a LoRA (or a relative of it), or both in one file (pivotal tuning)."))

    def connect(self, form: Form) -> None:
        """Joins the choice to what it shows, once the form is there."""
        method, rows = form.widgets["network.method"], form.editors["embeddings"]
        self.choice.value = subject_of(method.value, rows.value)
        usual = rows_text([{}], next(table for table in tables(form.config) if table.key == "embeddings"))
        on_choice(self.choice, lambda *now: chosen(*now, usual), [self.choice, method, rows], [method, rows])
        for part in (method, rows):
            on_change(part, lambda *now: gr.update(value=subject_of(*now)), [method, rows], [self.choice])


def subject_of(method: str, rows: str) -> str | None:
    """What a form with this network and these rows of embeddings, as JSON, trains; None where it is nothing."""
    words, network = any(_is_in_use(row) for row in json.loads(rows or "[]")), method != _NONE
    return BOTH if words and network else EMBEDDING if words else NETWORK if network else None


def chosen(subject: str, method: str, rows: str, usual: str) -> list[Any]:
    """The updates of both parts after a press: a network that was chosen stays, and no row is lost, only switched off.

    Args:
        usual: the rows where embeddings are wanted and there is none.
    """
    words = json.loads(rows or "[]")
    if subject == NETWORK:
        words = [{**row, OFF: True} for row in words]
    elif not any(_is_in_use(row) for row in words):
        words = [{name: value for name, value in row.items() if name != OFF} for row in words] or json.loads(usual)
    network = _NONE if subject == EMBEDDING else method if method != _NONE else _USUAL
    return [gr.update(value=network), gr.update(value=json.dumps(words, ensure_ascii=False))]


def _is_in_use(row: Mapping[str, Any]) -> bool:
    return not row.get(OFF)
