"""The learning rates of a run as a small picture under the schedule's options."""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from itertools import cycle
from typing import Any

import gradio as gr

from pivotal.config.build import draft
from pivotal.config.train import TrainConfig
from pivotal.jobs.schedule_preview import Course, Courses, courses
from pivotal.ui.form import Form
from pivotal.ui.gradio_compat import html, keep_out_of_ui_config, on_click
from pivotal.ui.labels import label_of_key
from pivotal.ui.progress import problem_list

_WIDTH, _HEIGHT = 560, 120
_LEFT, _RIGHT, _TOP, _BOTTOM = 40, 10, 8, 22  # room for the axes' numbers
_STROKES = (("solid", "none"), ("dashed", "7 3"), ("dotted", "2 3"), ("dashed and dotted", "9 3 2 3"))  # no colours are needed


def draw_courses(form: Form) -> None:
    """A button in the form's schedule section that draws what the rates would do."""
    with form.sections["schedule"]:
        button = keep_out_of_ui_config(gr.Button("Show the learning rates", elem_id="pivotal_show_courses", size="sm"))
        shown = html("", elem_id="pivotal_courses")
    on_click(button, _drawing(form), form.inputs, [shown])


def _drawing(form: Form) -> Callable[..., Any]:
    def draw(*values: Any) -> Any:
        config, problems = draft(TrainConfig, form.flat(values))
        hindering = {key: text for key, text in problems.items()
                     if key.startswith(("schedule.", "length.", "optimizer.", "targets.", "embeddings.", "pivot.", "batch."))}
        words = problem_list(hindering, lambda key: label_of_key(TrainConfig, key))
        return gr.update(value=words or courses_html(courses(config)))

    return draw


def courses_html(found: Courses) -> str:
    """Each part's rate as a share of its own peak, over the steps; what a screen reader says is in the legend."""
    if not found.courses:
        return '<div class="pivotal-note">There are no learning rates to show.</div>'
    drawn = list(zip(found.courses, cycle(_STROKES), strict=False))
    lines = "".join(_line(course, found.steps, dash) for course, (_, dash) in drawn)
    end = f"{found.steps} steps" if found.is_exact else "the end"
    axis = "".join(f'<text x="{x}" y="{_HEIGHT - 6}" text-anchor="{anchor}">{text}</text>'
                   for x, anchor, text in ((_LEFT, "start", "0"), (_WIDTH - _RIGHT, "end", end)))
    axis += "".join(f'<text x="{_LEFT - 6}" y="{_down(share) + 3.5:.1f}" text-anchor="end">{share:.0%}</text>'
                    for share in (0, 1))
    grid = "".join(f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{_down(share)}" y2="{_down(share)}"/>'
                   for share in (0, 0.5, 1))
    what = "times what the optimizer finds" if found.finds_rates else ""
    legend = "; ".join(f"{escape(course.name)} ({stroke}): up to {course.peak:g} {what}".strip() for course, (stroke, _) in drawn)
    return (f'<svg class="pivotal-chart" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="learning rates over steps">'
            f'<g class="pivotal-grid">{grid}</g><g class="pivotal-axis">{axis}</g>{lines}</svg>'
            f'<div class="pivotal-note">{legend}</div>')


def _down(share: float) -> float:
    return _TOP + (_HEIGHT - _TOP - _BOTTOM) * (1 - share)


def _line(course: Course, steps: int, dash: str) -> str:
    width = _WIDTH - _LEFT - _RIGHT
    points = " ".join(f"{_LEFT + width * step / max(steps - 1, 1):.1f},{_down(rate / (course.peak or 1)):.1f}"
                      for step, rate in course.points)
    return f'<polyline class="pivotal-smooth" stroke-dasharray="{dash}" points="{points}"/>'
