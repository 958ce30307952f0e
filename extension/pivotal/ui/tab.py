"""The Train tab: the form, its buttons, and the place where progress appears."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from html import escape
from itertools import count
from json import dumps
from typing import Any

import gradio as gr

from pivotal.config.train import TrainConfig
from pivotal.errors import OptionError, PivotalError
from pivotal.jobs.desk import Desk
from pivotal.jobs.outlook.outlook import Outlook
from pivotal.ui.compare import draw_compare_page
from pivotal.ui.courses import draw_courses
from pivotal.ui.dataset import draw_dataset_page
from pivotal.ui.demo import TOY, demo_run
from pivotal.ui.form import Form
from pivotal.ui.gradio_compat import html, keep_out_of_ui_config, on_click, slot
from pivotal.ui.labels import label_of_key
from pivotal.ui.plan import plan_html
from pivotal.ui.presets import Presets
from pivotal.ui.progress import problem_list
from pivotal.ui.queue_form import QueueForm
from pivotal.ui.run_file import RunFile
from pivotal.ui.subject import Subject
from pivotal.ui.timesteps import draw_timesteps
from pivotal.ui.tools import draw_tools

log = logging.getLogger(__name__)

TAB_ID = "pivotal_train"


def build_tab(desk: Desk) -> None:
    """Draws the tab, page by page, inside the gradio Blocks that is being made."""
    with gr.Tabs(elem_id="pivotal_pages"):
        with gr.TabItem("New run", elem_id="pivotal_page_run"):
            _draw_run_page(desk)
        with gr.TabItem("Queue", elem_id="pivotal_page_queue"):
            slot("queue", "pivotal_queue")
        with gr.TabItem("Compare", elem_id="pivotal_page_compare"):
            draw_compare_page()
        with gr.TabItem("Dataset", elem_id="pivotal_page_dataset"):
            draw_dataset_page()
        with gr.TabItem("Tools", elem_id="pivotal_page_tools"):
            _draw_counter()
            draw_tools()


def _draw_run_page(desk: Desk) -> None:
    """The form at the left; its buttons and how the run fares at the right."""
    demo = demo_run()
    presets, queued, run_file = Presets(desk.host), QueueForm(desk.queue), RunFile(desk.host)
    with gr.Row(elem_id="pivotal_page"):
        with gr.Column(scale=3, min_width=360):
            presets.draw_choice()
            subject = Subject()
            form = Form(TrainConfig, demo if _is_toy(desk) else {})
            draw_courses(form)
            draw_timesteps(form)
            run_file.draw(presets)
        with gr.Column(scale=2, min_width=320):
            with gr.Row(elem_id="pivotal_buttons"):
                train, resume = _draw_buttons()
                queued.draw_button()
            with gr.Row(elem_id="pivotal_more_buttons"):
                plan = _button("Check and plan", "pivotal_plan", size="sm", min_width=80)
                measure = _button("Measure", "pivotal_measure", size="sm", min_width=80)
                use_demo = _button("Fill in the demo", "pivotal_use_demo", size="sm", min_width=80) if demo else None
            queued.draw_editing()
            answer = html("", elem_id="pivotal_answer")
            slot("job", "pivotal_progress")
            slot("samples", "pivotal_samples")
    actions = _Actions(desk, form)
    presets.connect(form)
    subject.connect(form)
    told = [answer, *form.sections.values()]
    on_click(train, actions.train, form.inputs, told)
    queued.connect(form, actions.answer, told)
    on_click(plan, actions.plan, form.inputs, told)
    on_click(measure, actions.measure, form.inputs, told)
    on_click(resume, actions.resume, form.inputs, told)
    run_file.connect(form, actions.told, told)
    if use_demo:
        on_click(use_demo, lambda: form.filled(demo), [], form.inputs)


def _is_toy(desk: Desk) -> bool:
    loaded = desk.host.checkpoint()
    return loaded is not None and loaded.name.startswith(TOY)


def _button(text: str, identifier: str, **arguments: Any) -> Any:
    return keep_out_of_ui_config(gr.Button(text, elem_id=identifier, elem_classes=["pivotal-action"], **arguments))


def _draw_buttons() -> tuple[Any, Any]:
    return (_button("Train", "pivotal_start", variant="primary", min_width=80),
            _button("Resume", "pivotal_resume", min_width=80))


def _draw_counter() -> None:
    """A place to try words out: the same count that stands beside every tokenized text."""
    with gr.Accordion("Count tokens", open=False, elem_id="pivotal_section_count"):
        keep_out_of_ui_config(gr.Textbox(
            label="Text", info="Shows how the text encoders cut a prompt into tokens, with the host's own tokenizer.",
            lines=3, max_lines=12, elem_id="pivotal_count", elem_classes=["pivotal-tokens"]))


class _Actions:
    """What the buttons do. Each returns at once: a run goes on in the desk's own thread."""

    def __init__(self, desk: Desk, form: Form):
        self.desk, self.form, self._numbers = desk, form, count(1)

    def train(self, *values: Any) -> list[Any]:
        return self._begun(values, resume=False)

    def resume(self, *values: Any) -> list[Any]:
        """Goes on with the run that is paused, else with that of the form's name."""
        if self.desk.view().state == "paused":
            return self.told(self.desk.resume_paused)
        return self._begun(values, resume=True)

    def _begun(self, values: Sequence[Any], *, resume: bool) -> list[Any]:
        """Starts the form's run, or adds it to the queue while another one goes on."""
        run, lines = self.desk.view().id, []
        told = self.told(lambda: lines.append(self.desk.queue.train(self.form.flat(values), resume=resume)))
        return self._answer(run, lines=lines) if any(lines) else told

    def answer(self, **told: Any) -> list[Any]:
        """The updates that tell of something that has no run of its own; see `_answer`."""
        return self._answer(self.desk.view().id, **told)

    def plan(self, *values: Any) -> list[Any]:
        """Checks everything, starts nothing, and tells what the run would see and need."""
        return self._planned(self.desk.outlooks.ahead, values)

    def measure(self, *values: Any) -> list[Any]:
        """As `plan`, after a few steps on the host's model."""
        return self._planned(self.desk.outlooks.measured, values)

    def _planned(self, look: Callable[[Mapping[str, Any]], Outlook], values: Sequence[Any]) -> list[Any]:
        run, flat, made = self.desk.view().id, self.form.flat(values), []
        words = [str(value) for key, value in flat.items() if key.startswith("embeddings.") and key.endswith(".placeholder")]
        told = self.told(lambda: made.append(plan_html(look(flat), words)))
        return self._answer(run, more=made[0]) if made else told

    def told(self, work: Callable[[], Any]) -> list[Any]:
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
                lines: Sequence[str] = (), more: str = "") -> list[Any]:
        problems = problems or {}
        words = escape(text)
        if problems:
            said = "One option needs" if len(problems) == 1 else f"{len(problems)} options need"
            words = f"{said} attention:" + problem_list(problems, lambda key: label_of_key(TrainConfig, key))
        inner = f'<div class="pivotal-error">{words}</div>' if words else ""
        inner += "".join(f'<div class="pivotal-note">{escape(line)}</div>' for line in lines)
        data = escape(dumps(problems), quote=True)
        # The number: so that a second answer of the same words is one, too, for whoever waits for it.
        answer = (f'<div data-pivotal-answer="{escape(run)}" data-pivotal-number="{next(self._numbers)}" '
                  f'data-pivotal-problems="{data}">{inner}{more}</div>')
        return [gr.update(value=answer), *self.form.opened(problems)]
