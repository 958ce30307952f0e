"""The Tools page: a panel for each tool of finished files, with its options' widgets, a button and an answer."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from html import escape
from json import dumps
from typing import Any

import gradio as gr

from pivotal.config.build import build
from pivotal.config.options import Option, walk
from pivotal.errors import OptionError, PivotalError
from pivotal.tools.registry import TOOLS, Tool
from pivotal.tools.results import Report
from pivotal.tools.work import carry_out
from pivotal.ui.gradio_compat import html, keep_out_of_ui_config, on_change, on_click
from pivotal.ui.labels import label_of_key
from pivotal.ui.progress import problem_list
from pivotal.ui.widgets import element_id, is_wide, widget_for

log = logging.getLogger(__name__)


def draw_tools() -> None:
    """Draws all tools, folded, where it is called: inside the gradio Blocks that is being made."""
    for tool in TOOLS.values():
        ToolPanel(tool)


class ToolPanel:
    """One tool's accordion. Its widgets' ids begin with its key, as other tools have options of the same names."""

    def __init__(self, tool: Tool):
        self.tool = tool
        self.key = f"tools.{tool.name.replace('-', '_')}"
        self.options = list(walk(tool.section))
        self.widgets: dict[str, Any] = {}  # by option's key
        self._boxes: dict[str, Any] = {}
        with gr.Accordion(tool.title, open=False, elem_id=element_id(self.key)):
            note = " ".join((tool.section.__doc__ or "").split())
            html(f'<div class="pivotal-note">{escape(note)}</div>')
            for line in _lines(self.options):
                with gr.Row(equal_height=True):
                    for option in line:
                        self._draw(option)
            self.button = keep_out_of_ui_config(gr.Button(
                tool.title, elem_id=f"{element_id(self.key)}_run", elem_classes=["pivotal-action"]))
            self.answer = html("", elem_id=f"{element_id(self.key)}_answer")
        for option in self.options:
            if option.spec.shown_when:
                self._show_when(option)
        on_click(self.button, self.run, [self.widgets[option.key] for option in self.options], [self.answer], "full")

    def run(self, *values: Any) -> Any:
        """Does the tool's work with the widgets' values; the update that tells how it went."""
        try:
            flat = dict(zip((option.key for option in self.options), values, strict=True))
            report = carry_out(build(self.tool.section, flat))
        except OptionError as error:
            return self._told(problems=error.problems)
        except PivotalError as error:
            return self._told(trouble=str(error))
        except Exception as error:
            log.exception("The tool %s failed", self.tool.name)
            return self._told(trouble=f"That did not work: {type(error).__name__}. The host's log has the details.")
        return self._told(report)

    def _told(self, report: Report | None = None, trouble: str = "", problems: Mapping[str, str] | None = None) -> Any:
        problems = problems or {}
        words = problem_list(problems, lambda key: label_of_key(self.tool.section, key)) if problems else escape(trouble)
        inner = f'<div class="pivotal-error" role="alert">{words}</div>' if words else ""
        if report is not None:
            files = "".join(f"<li><code>{escape(str(path))}</code></li>" for path in report.files)
            inner = f'<div class="pivotal-tool-done">{escape(report.text)}<ul class="pivotal-files">{files}</ul></div>'
        # The page puts each sentence under its field, whose id comes from its key.
        keyed = escape(dumps({f"{self.key}.{key}": text for key, text in problems.items()}), quote=True)
        return gr.update(value=f'<div data-pivotal-tool data-pivotal-problems="{keyed}">{inner}</div>')

    def _draw(self, option: Option) -> None:
        name, arguments = widget_for(dataclasses.replace(option, key=f"{self.key}.{option.key}"))
        arguments["label"] = option.label
        shown = self._is_shown(option)
        with gr.Column(min_width=200, visible=shown, elem_id=f"{arguments['elem_id']}_box") as box:
            self.widgets[option.key] = keep_out_of_ui_config(getattr(gr, name)(**arguments))
        self._boxes[option.key] = box

    def _is_shown(self, option: Option) -> bool:
        if option.spec.shown_when is None:
            return True
        other, wanted = option.spec.shown_when
        return next(one.default for one in self.options if one.key == other) in wanted

    def _show_when(self, option: Option) -> None:
        other, wanted = option.spec.shown_when
        on_change(self.widgets[other], lambda value: gr.update(visible=value in wanted),
                  [self.widgets[other]], [self._boxes[option.key]])


def _lines(options: Sequence[Option]) -> list[list[Option]]:
    """Wide widgets on lines of their own, up to four others side by side."""
    lines: list[list[Option]] = []
    for option in options:
        if is_wide(option) or not lines or is_wide(lines[-1][0]) or len(lines[-1]) == 4:
            lines.append([])
        lines[-1].append(option)
    return lines
