"""What joins the form to the queue: a button that adds it, and a run of the queue whose options fill it in."""

from __future__ import annotations

import json
from collections.abc import Callable
from html import escape
from typing import Any

import gradio as gr

from pivotal.errors import OptionError, PivotalError
from pivotal.jobs.queue.queue import RunQueue
from pivotal.jobs.queue.store import NoSuchRun, WrongState
from pivotal.ui.form import Form
from pivotal.ui.gradio_compat import html, keep_out_of_ui_config, on_click

Told = Callable[..., list[Any]]  # the tab's answer: its updates


class QueueForm:
    """The button beside Train, and what javascript/pivotal_queue.js presses when a run's settings are asked for."""

    def __init__(self, queue: RunQueue):
        self.queue = queue

    def draw_button(self) -> None:
        """Beside Train."""
        self.add = keep_out_of_ui_config(gr.Button("Add to queue", elem_id="pivotal_add_to_queue", min_width=80,
                                                   elem_classes=["pivotal-action"]))

    def draw_editing(self) -> None:
        """What is edited, in words; and the text box and button that the page's script uses."""
        self.note = html("", elem_id="pivotal_queue_editing")
        self.entry = keep_out_of_ui_config(gr.Textbox(label="Run of the queue", elem_id="pivotal_queue_entry", lines=1,
                                                      elem_classes=["pivotal-hidden"]))
        self.load = keep_out_of_ui_config(gr.Button("Fill the form in", elem_id="pivotal_queue_load",
                                                    elem_classes=["pivotal-hidden"]))

    def connect(self, form: Form, told: Told, answers: list[Any]) -> None:
        """Gives the buttons their work.

        Args:
            told: makes the updates of `answers`, from `problems=`, `text=` or `lines=`.
        """
        self.form, self.told = form, told
        on_click(self.add, self.added, [self.entry, *form.inputs], [self.entry, self.note, *answers])
        on_click(self.load, self.filled, [self.entry], [*form.inputs, self.entry, self.note, *answers])

    def added(self, asked: str, *values: Any) -> list[Any]:
        """Adds the form to the queue, or gives the run that is edited these options."""
        identifier, flat = _edited(asked), self.form.flat(values)
        kept = [gr.update(), gr.update()]
        try:
            if identifier:
                entry, notices = self.queue.edit(identifier, flat)
                words = f"{entry.name!r} is changed and waits in its place."
            else:
                (entry,), notices = self.queue.add([flat])
                words = f"{entry.name!r} is added to the queue." + self._what_next()
        except OptionError as error:
            return [*kept, *self.told(problems=error.problems)]
        except (NoSuchRun, WrongState) as error:
            return [*_nothing_edited(), *self.told(text=f"{error} Press again to add the form as a run of its own.")]
        except PivotalError as error:
            return [*kept, *self.told(text=str(error))]
        return [*_nothing_edited(), *self.told(lines=[words, *notices])]

    def _what_next(self) -> str:
        return "" if self.queue.worker.is_working else " It begins when you start the queue, on its page."

    def filled(self, asked: str) -> list[Any]:
        """Fills the form in with a run's options."""
        try:
            identifier = str(json.loads(asked)["id"])
            entry = self.queue.store.get(identifier)
        except (ValueError, KeyError, TypeError):
            return [*(gr.update() for _ in self.form.inputs), *_nothing_edited(), *self.told(text="That is no run of the queue.")]
        except PivotalError as error:
            return [*(gr.update() for _ in self.form.inputs), *_nothing_edited(), *self.told(text=str(error))]
        editing = _editing(entry.name) if _edited(asked) else ""
        lines = [] if editing else [f"The form has the settings of {entry.name!r}."]
        return [*self.form.filled(entry.options), gr.update(value=asked if editing else ""), gr.update(value=editing),
                *self.told(lines=lines)]


def _edited(asked: str) -> str:
    """The id of the waiting run that is edited; empty where none is."""
    try:
        found = json.loads(asked or "{}")
        return str(found["id"]) if found.get("edit") else ""
    except (ValueError, KeyError, TypeError, AttributeError):
        return ""


def _editing(name: str) -> str:
    return (f'<div class="pivotal-note pivotal-editing">The form has the settings of {escape(repr(name))}, which waits in the '
            'queue. Add to queue changes it in its place. <button type="button" class="pivotal-small-button" '
            'data-pivotal-leave>Leave it as it is</button></div>')


def _nothing_edited() -> list[Any]:
    return [gr.update(value=""), gr.update(value="")]
