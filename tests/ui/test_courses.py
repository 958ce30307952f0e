"""The picture of the learning rates under the schedule, and the same numbers by the API."""

import re

import gradio as gr
from fastapi import FastAPI

from api_client import Described
from fake_host import FakeHost
from pivotal.api.routes import attach_routes
from pivotal.config.train import TrainConfig
from pivotal.jobs.desk import Desk
from pivotal.ui.courses import _drawing, draw_courses
from pivotal.ui.form import Form

VALUES = {"embeddings.0.placeholder": "<cat>", "schedule.kind": "linear", "length.steps": 101, "network.method": "lora"}


def shown(**changes):
    with gr.Blocks():
        form = Form(TrainConfig, VALUES | {key.replace("__", "."): value for key, value in changes.items()})
        draw_courses(form)
    return _drawing(form)(*[widget.value for widget in form.inputs])["value"]


def test_each_part_has_a_line_and_a_legend_without_markup_of_its_own():
    picture = shown()
    lines = re.findall(r'points="([^"]*)"', picture)
    assert len(lines) == 2 and "&lt;cat&gt; (solid): up to 0.005" in picture and "UNet (dashed): up to 0.0001" in picture
    heights = [float(point.split(",")[1]) for point in lines[0].split()]
    assert heights == sorted(heights) and heights[0] == 8 and "101 steps" in picture


def test_problems_are_shown_in_place_of_a_picture_but_only_those_of_rates():
    assert "needs it" in shown(schedule__kind="formula") and "<svg" not in shown(schedule__kind="formula")
    assert "<svg" in shown(dataset__folder="")


def test_the_api_gives_the_points(tmp_path):
    app = FastAPI()
    attach_routes(app, Desk(FakeHost(tmp_path)), {})
    client = Described(app)
    body = {"options": {"embeddings": [{"placeholder": "a"}], "schedule": {"kind": "linear"}, "length": {"steps": 4}}}
    found = client.post("/pivotal/v1/schedule", json=body).json()
    assert found["steps"] == 4 and found["courses"][0]["points"] == [[0, 0.005], [1, 0.00375], [2, 0.0025], [3, 0.00125]]
    body["options"]["schedule"] = {"kind": "points"}
    assert "schedule.points" in client.post("/pivotal/v1/schedule", json=body).json()["problems"]
