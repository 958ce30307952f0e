"""The run as a file, beside the form: kept like it, filled back into it, compared with it; and the recipe inside a result."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import gradio as gr

from pivotal.config.build import draft, problems_of
from pivotal.config.files import dump_run, parse_run
from pivotal.config.imports.read import import_text
from pivotal.config.imports.rules import Imported
from pivotal.config.presets import Preset, filled_in
from pivotal.config.train import TrainConfig
from pivotal.errors import OptionError
from pivotal.hosts.protocol import Host
from pivotal.jobs.recipe_file import recipe_in
from pivotal.ui.form import Form
from pivotal.ui.gradio_compat import html, keep_out_of_ui_config, on_click
from pivotal.ui.labels import label_of_key
from pivotal.ui.presets import Presets, changes_html, imported_html
from pivotal.ui.progress import problem_list

Told = Callable[..., list[Any]]  # the tab's answer: its updates
_NAME = "the run file"
_MIRROR = ('<label class="pivotal-mirror">Keep it like the form <select data-pivotal-mirror aria-label="Keep it like the form">'
           '<option value="off">no</option><option value="changed" selected>what differs from the defaults</option>'
           '<option value="all">every option</option></select></label>')


class RunFile:
    """The section below the form, and its buttons' work."""

    def __init__(self, host: Host):
        self.host = host

    def draw(self, presets: Presets) -> None:
        """The section, folded."""
        with gr.Accordion("Run file", open=False, elem_id="pivotal_section_run_file"):
            html('<div class="pivotal-note">The form as a file: to keep, or for install.py train. What you change here goes into '
                 "the form. Settings of kohya (.json, .toml), OneTrainer (.json) and Invoke Training (.yaml) are understood, too."
                 f"</div>{_MIRROR}")
            self.text = keep_out_of_ui_config(gr.Textbox(label="YAML", lines=8, max_lines=30, elem_id="pivotal_run_file"))
            self.report = html("", elem_id="pivotal_imported")
            with gr.Row():
                self.to_file = _button("Write it from the form", "pivotal_to_run_file")
                self.from_file = _button("Fill the form from it", "pivotal_from_run_file")
                self.compare = _button("Compare with the form", "pivotal_compare_run_file")
            with gr.Row(elem_id="pivotal_again"):
                self.path = keep_out_of_ui_config(gr.Textbox(
                    label="Train again from this file", lines=1, elem_id="pivotal_recipe_file",
                    info="Name or path of a LoRA or an embedding: the recipe inside fills the form in, whoever trained it."))
                self.again = _button("Fill the form from the recipe", "pivotal_from_recipe")
            presets.draw_keeping()

    def connect(self, form: Form, told: Told, answers: list[Any]) -> None:
        """Gives the buttons their work.

        Args:
            told: makes the updates of `answers`, from a piece of work.
        """
        self.form, self.told = form, told
        on_click(self.to_file, self.written, form.inputs, [self.text, *answers])
        on_click(self.from_file, self.read, [self.text], [*form.inputs, *answers, self.report])
        on_click(self.compare, self.compared, [self.text, *form.inputs], [self.report])
        on_click(self.again, self.recipe, [self.path, *form.inputs], [*form.inputs, *answers, self.report])

    def written(self, *values: Any) -> list[Any]:
        """The form as a run file."""
        made: list[str] = []
        told = self.told(lambda: made.append(dump_run(self.form.config_of(values))))
        return [gr.update(value=made[0]) if made else gr.update(), *told]

    def read(self, text: str) -> list[Any]:
        """Fills the form; with a value that is none, nothing of a run file, and of another trainer's file what is good. What is
        to be mended is told beneath."""
        filled: list[Any] = []
        report: list[str] = []

        def work() -> None:
            found, flat = _parsed(text)
            problems = draft(TrainConfig, flat)[1]
            if found or not problems_of(TrainConfig, flat)[1]:
                filled.extend(self.form.filled(flat))
            report.append((imported_html(found) if found else "") + _problems(problems))
            if problems:
                raise OptionError(problems)

        return self._filled(filled, work, report)

    def recipe(self, name: str, *values: Any) -> list[Any]:
        """Fills the form from what a result says of its training; folders and words that it does not say stay."""
        filled: list[Any] = []
        report: list[str] = []

        def work() -> None:
            found = recipe_in(name or "", self.host.folders())
            before = self.form.flat(values)
            after = _over(found, before)
            filled.extend(self.form.filled(after))
            report.append(imported_html(found) + changes_html(_NO_PRESET, before, after))

        return self._filled(filled, work, report)

    def compared(self, text: str, *values: Any) -> Any:
        """What filling the form from the file would change."""
        try:
            flat = _parsed(text)[1]
        except OptionError as error:
            return gr.update(value=_problems(error.problems))
        return gr.update(value=changes_html(_NO_PRESET, self.form.flat(values), flat, would=True))

    def _filled(self, filled: list[Any], work: Callable[[], None], report: list[str]) -> list[Any]:
        def noting() -> None:
            try:
                work()
            except OptionError as error:
                if not report:
                    report.append(_problems(error.problems))
                raise

        told = self.told(noting)
        return [*(filled or [gr.update() for _ in self.form.inputs]), *told, gr.update(value="".join(report))]


_NO_PRESET = Preset("", "", "", {})


def _parsed(text: str) -> tuple[Imported | None, Mapping[str, Any]]:
    """What another trainer wrote, if it is that; and the options.

    Raises:
        OptionError: it can be read as neither.
    """
    found = import_text(text or "", _NAME)
    return found, found.flat if found else parse_run(text or "", _NAME)


def _over(found: Imported, form: Mapping[str, Any]) -> dict[str, Any]:
    """The recipe in the form: the rest goes to the defaults, but what is the user's."""
    return {**filled_in(Preset("", "", "", found.flat), form), **found.flat}


def _problems(problems: Mapping[str, str]) -> str:
    words = problem_list(problems, lambda key: label_of_key(TrainConfig, key))
    return f'<div class="pivotal-error">{words}</div>' if words else ""


def _button(text: str, identifier: str) -> Any:
    return keep_out_of_ui_config(gr.Button(text, elem_id=identifier, elem_classes=["pivotal-action"], min_width=80))
