"""How often each timestep is drawn, as a small picture under the options that decide it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import gradio as gr

from pivotal.config.build import draft
from pivotal.config.train import TrainConfig
from pivotal.training.timesteps import timestep_shares
from pivotal.ui.form import Form
from pivotal.ui.gradio_compat import html, keep_out_of_ui_config, on_click
from pivotal.ui.labels import label_of_key
from pivotal.ui.progress import problem_list

_WIDTH, _HEIGHT = 560, 110
_LEFT, _RIGHT, _TOP, _BOTTOM = 10, 10, 8, 22  # room for the axis' numbers


def draw_timesteps(form: Form) -> None:
    """A button in the form's section of timesteps that draws how often each comes."""
    with form.sections["timesteps"]:
        button = keep_out_of_ui_config(gr.Button("Show how often each is drawn", elem_id="pivotal_show_timesteps", size="sm"))
        shown = html("", elem_id="pivotal_timesteps_shown")
    on_click(button, _drawing(form), form.inputs, [shown])


def _drawing(form: Form) -> Callable[..., Any]:
    def draw(*values: Any) -> Any:
        config, problems = draft(TrainConfig, form.flat(values))
        hindering = {key: text for key, text in problems.items() if key.startswith("timesteps.")}
        if hindering:
            return gr.update(value=problem_list(hindering, lambda key: label_of_key(TrainConfig, key)))
        return gr.update(value=shares_html(timestep_shares(config.timesteps)))

    return draw


def shares_html(shares: Sequence[float]) -> str:
    """A bar for each of the equal spans from clean to noise; the highest fills the picture."""
    width, height = (_WIDTH - _LEFT - _RIGHT) / len(shares), _HEIGHT - _TOP - _BOTTOM
    highest = max(shares)
    bars = "".join(f'<rect x="{_LEFT + width * index:.1f}" y="{_TOP + height * (1 - share / highest):.1f}" '
                   f'width="{width - 1:.1f}" height="{height * share / highest:.1f}"/>' for index, share in enumerate(shares))
    marks = ((0, "start", "0, clean"), (0.5, "middle", "500"), (1, "end", "1000, noise"))
    axis = "".join(f'<text x="{_LEFT + (_WIDTH - _LEFT - _RIGHT) * place:.1f}" y="{_HEIGHT - 6}" text-anchor="{anchor}">{text}'
                   "</text>" for place, anchor, text in marks)
    return (f'<svg class="pivotal-chart" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
            f'aria-label="how often each timestep is drawn"><g class="pivotal-bars">{bars}</g>'
            f'<g class="pivotal-axis">{axis}</g></svg>')
