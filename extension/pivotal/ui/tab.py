"""The Train tab: the form, its buttons, and the place where progress appears."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from html import escape
from json import dumps
from typing import Any

import gradio as gr

from pivotal.config.build import build, draft
from pivotal.config.files import dump_run, parse_run
from pivotal.config.imports.read import import_text
from pivotal.config.train import TrainConfig
from pivotal.errors import OptionError, PivotalError
from pivotal.jobs.desk import Desk
from pivotal.jobs.plan_words import plan_lines
from pivotal.ui.courses import draw_courses
from pivotal.ui.demo import TOY, demo_run
from pivotal.ui.form import Form
from pivotal.ui.gradio_compat import html, keep_out_of_ui_config, on_click, slot
from pivotal.ui.labels import label_of_key
from pivotal.ui.presets import Presets, imported_html
from pivotal.ui.progress import problem_list
from pivotal.ui.timesteps import draw_timesteps
from pivotal.ui.tools import draw_tools

log = logging.getLogger(__name__)

TAB_ID = "pivotal_train"


def build_tab(desk: Desk) -> None:
    """Draws the tab, page by page, inside the gradio Blocks that is being made."""
    with gr.Tabs(elem_id="pivotal_pages"):
        with gr.TabItem("New run", elem_id="pivotal_page_run"):
            _draw_run_page(desk)
        with gr.TabItem("Tools", elem_id="pivotal_page_tools"):
            _draw_counter()
            draw_tools()


def _draw_run_page(desk: Desk) -> None:
    """The form at the left; its buttons and how the run fares at the right."""
    demo = demo_run()
    presets = Presets(desk.host)
    with gr.Row(elem_id="pivotal_page"):
        with gr.Column(scale=3, min_width=360):
            presets.draw_choice()
            form = Form(TrainConfig, demo if _is_toy(desk) else {})
            draw_courses(form)
            draw_timesteps(form)
            run_file, to_file, from_file, imported = _draw_run_file(presets)
        with gr.Column(scale=2, min_width=320):
            with gr.Row():
                train, stop, resume = _draw_buttons()
            with gr.Row():
                sample, save = (_button("Sample now", "pivotal_sample_now", size="sm", min_width=80),
                                _button("Save now", "pivotal_save_now", size="sm", min_width=80))
                plan = _button("Check and plan", "pivotal_plan", size="sm", min_width=80)
            use_demo = _button("Fill in the demo", "pivotal_use_demo", size="sm") if demo else None
            answer = html("", elem_id="pivotal_answer")
            slot("job", "pivotal_progress")
    actions = _Actions(desk, form)
    presets.connect(form)
    told = [answer, *form.sections.values()]
    on_click(train, actions.train, form.inputs, told)
    on_click(plan, actions.plan, form.inputs, told)
    on_click(resume, actions.resume, form.inputs, told)
    on_click(stop, actions.stop, [], [answer])
    on_click(sample, actions.sample, [], [answer])
    on_click(save, actions.save, [], [answer])
    on_click(to_file, actions.write_run_file, form.inputs, [run_file, *told])
    on_click(from_file, actions.read_run_file, [run_file], [*form.inputs, *told, imported])
    if use_demo:
        on_click(use_demo, lambda: form.filled(demo), [], form.inputs)


def _is_toy(desk: Desk) -> bool:
    loaded = desk.host.checkpoint()
    return loaded is not None and loaded.name.startswith(TOY)


def _button(text: str, identifier: str, **arguments: Any) -> Any:
    return keep_out_of_ui_config(gr.Button(text, elem_id=identifier, elem_classes=["pivotal-action"], **arguments))


def _draw_buttons() -> tuple[Any, Any, Any]:
    return (_button("Train", "pivotal_start", variant="primary", min_width=80),
            _button("Stop", "pivotal_stop", variant="stop", min_width=80),
            _button("Resume", "pivotal_resume", min_width=80))


def _draw_run_file(presets: Presets) -> tuple[Any, Any, Any, Any]:
    with gr.Accordion("Run file", open=False, elem_id="pivotal_section_run_file"):
        html('<div class="pivotal-note">The form as a file: to keep, or for <code>install.py train RUN.yaml</code>. Settings '
             "of kohya (.json, .toml), OneTrainer (.json) and Invoke Training (.yaml) are understood here, too.</div>")
        text = keep_out_of_ui_config(gr.Textbox(label="YAML", lines=8, max_lines=30, elem_id="pivotal_run_file"))
        with gr.Row():
            to_file = _button("Write it from the form", "pivotal_to_run_file")
            from_file = _button("Fill the form from it", "pivotal_from_run_file")
        imported = html("", elem_id="pivotal_imported")
        presets.draw_keeping()
    return text, to_file, from_file, imported


def _draw_counter() -> None:
    """A place to try words out: the same count that stands beside every tokenized text."""
    with gr.Accordion("Count tokens", open=False, elem_id="pivotal_section_count"):
        keep_out_of_ui_config(gr.Textbox(
            label="Text", info="Shows how the text encoders cut a prompt into tokens, with the host's own tokenizer.",
            lines=3, max_lines=12, elem_id="pivotal_count", elem_classes=["pivotal-tokens"]))


class _Actions:
    """What the buttons do. Each returns at once: a run goes on in the desk's own thread."""

    def __init__(self, desk: Desk, form: Form):
        self.desk, self.form = desk, form

    def train(self, *values: Any) -> list[Any]:
        return self._told(lambda: self.desk.start(self.form.flat(values)))

    def resume(self, *values: Any) -> list[Any]:
        return self._told(lambda: self.desk.start(self.form.flat(values), resume=True))

    def plan(self, *values: Any) -> list[Any]:
        """Checks everything, starts nothing, and tells what the run would see."""
        run, lines = self.desk.view().id, []

        def look() -> None:
            plan, notices = self.desk.plan(self.form.flat(values))
            lines.extend([*plan_lines(plan), *notices.values()])

        told = self._told(look)
        return self._answer(run, lines=lines) if lines else told

    def stop(self) -> Any:
        return self._told(self.desk.stop)[0]

    def sample(self) -> Any:
        return self._told(self.desk.sample_now)[0]

    def save(self) -> Any:
        return self._told(self.desk.save_now)[0]

    def write_run_file(self, *values: Any) -> list[Any]:
        made: list[str] = []
        told = self._told(lambda: made.append(dump_run(build(TrainConfig, self.form.flat(values)))))
        return [gr.update(value=made[0]) if made else gr.update(), *told]

    def read_run_file(self, text: str) -> list[Any]:
        """A run file must be good; what another trainer wrote is filled in as far as it goes, with what is to be mended."""
        filled: list[Any] = []
        report = ""

        def read() -> None:
            nonlocal report
            found = import_text(text or "", "the run file")
            flat = found.flat if found else parse_run(text or "", "the run file")
            problems = draft(TrainConfig, flat)[1]
            if found or not problems:
                filled.extend(self.form.filled(flat))
                report = imported_html(found) if found else ""
            if problems:
                raise OptionError(problems)

        told = self._told(read)
        return [*(filled or [gr.update() for _ in self.form.inputs]), *told, gr.update(value=report)]

    def _told(self, work: Callable[[], Any]) -> list[Any]:
        """Does `work`; the updates that tell how it went: the answer, and the sections to unfold."""
        run = self.desk.view().id  # before `work`: the page tells by it whether a failure is later than this answer
        try:
            work()
        except OptionError as error:
            return self._answer(run, problems=error.problems)
        except PivotalError as error:
            return self._answer(run, text=str(error))
        except Exception as error:
            log.exception("the Train tab could not do what was asked")
            return self._answer(run, text=f"That did not work: {type(error).__name__}. The host's log has the details.")
        return self._answer(run)

    def _answer(self, run: str, problems: Mapping[str, str] | None = None, text: str = "",
                lines: Sequence[str] = ()) -> list[Any]:
        problems = problems or {}
        words = escape(text)
        if problems:
            count = "One option needs" if len(problems) == 1 else f"{len(problems)} options need"
            words = f"{count} attention:" + problem_list(problems, lambda key: label_of_key(TrainConfig, key))
        inner = f'<div class="pivotal-error">{words}</div>' if words else ""
        inner += "".join(f'<div class="pivotal-note">{escape(line)}</div>' for line in lines)
        data = escape(dumps(problems), quote=True)
        answer = f'<div data-pivotal-answer="{escape(run)}" data-pivotal-problems="{data}">{inner}</div>'
        return [gr.update(value=answer), *self.form.opened(problems)]
