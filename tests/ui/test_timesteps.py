"""The picture of the timesteps has a bar for each span, as high as it is likely."""

import re

import gradio as gr
import pytest

from pivotal.config.sections.loss import Timesteps
from pivotal.config.train import TrainConfig
from pivotal.training.timesteps import timestep_shares
from pivotal.ui.form import Form
from pivotal.ui.timesteps import _drawing, draw_timesteps, shares_html


def heights(text):
    return [float(height) for height in re.findall(r'height="([\d.]+)"/>', text)]


def test_bars_are_as_high_as_the_shares():
    assert heights(shares_html([0.1, 0.4, 0.2])) == pytest.approx([20.0, 80.0, 40.0], abs=0.1)
    assert heights(shares_html([0.0, 1.0])) == pytest.approx([0, 80])


def test_the_button_draws_what_the_form_says():
    with gr.Blocks():
        form = Form(TrainConfig)
        draw_timesteps(form)
    draw = _drawing(form)
    values = [widget.value for widget in form.inputs]
    place = form.inputs.index(form.widgets["timesteps.distribution"])
    even = heights(draw(*values)["value"])
    assert len(even) == 50 and min(even) > 0.75 * max(even)
    values[place] = "cos map"
    expected = heights(shares_html(timestep_shares(Timesteps(distribution="cos map"))))
    assert heights(draw(*values)["value"]) == pytest.approx(expected, abs=0.2)
    values[form.inputs.index(form.widgets["timesteps.minimum"])] = "many"
    assert "expected a whole number" in draw(*values)["value"]
