"""Presets and imports on the page and over HTTP."""

import json
from pathlib import Path

import gradio as gr
import pytest
from fastapi import FastAPI

from api_client import Described
from fake_host import FakeHost
from pivotal.api.routes import attach_routes
from pivotal.config.presets import SHIPPED, list_presets
from pivotal.config.train import TrainConfig
from pivotal.jobs.desk import Desk
from pivotal.ui.form import Form
from pivotal.ui.presets import Presets

FILES = Path(__file__).resolve().parents[1] / "unit" / "config" / "imports"


@pytest.fixture
def desk(tmp_path):
    return Desk(FakeHost(tmp_path / "host"))


def drawn(desk, **values):
    """The page's two places, its form, and the form's values."""
    with gr.Blocks():
        presets = Presets(desk.host)
        presets.draw_choice()
        form = Form(TrainConfig, values)
        presets.draw_keeping()
        presets.connect(form)
    return presets, form, [widget.value for widget in form.inputs]


def filled(presets, form, values, title):
    updates = presets.filled(title, *values)
    shown = [update.get("value", value) for update, value in zip(updates, values, strict=False)]
    return form.flat(shown), updates[-1]["value"]


def test_filling_in_keeps_the_users_words_and_says_what_changed(desk):
    presets, form, values = drawn(desk, **{"name": "mara", "dataset.folder": "/x", "embeddings.0.placeholder": "zkmara",
                                           "length.steps": 7, "samples.prompts": ("a mara", "a dog")})  # fmt: skip
    flat, told = filled(presets, form, values, "Person: embedding and LoRA in one (pivotal), SD 1 and SD 2")
    assert (flat["name"], flat["dataset.folder"], flat["embeddings.0.placeholder"]) == ("mara", "/x", "zkmara")
    assert flat["samples.prompts"] == "a mara\na dog", "lines that were typed stay lines"
    assert (flat["length.steps"], flat["network.method"], flat["embeddings.0.token_count"]) == (1500, "lora", "4")
    assert "Steps: 7 \u2192 1500" in told and "Network: none \u2192 lora" in told and "zkmara" not in told
    flat, told = filled(presets, form, values, "Person: LoRA, SDXL")
    assert "embeddings.0.placeholder" not in flat and "Embedding 1: removed" in told


def test_without_a_choice_nothing_changes(desk):
    presets, form, values = drawn(desk)
    for title in (None, "", "no such"):
        flat, told = filled(presets, form, values, title)
        assert flat == form.flat(values) and "Choose a preset" in told


def test_the_form_is_kept_as_a_preset_and_never_overwritten_unasked(desk):
    presets, _, values = drawn(desk, **{"dataset.folder": "/x", "embeddings.0.placeholder": "zkmara", "length.steps": 7})
    choice, told = presets.saved("my <b> own", False, *values)
    assert choice["choices"][0] == "Yours: my <b> own" and "&lt;" not in told["value"].partition("Kept as")[0]
    path = next((desk.host.folders().scratch / "presets").glob("*.yaml"))
    assert path.read_text(encoding="utf-8") == "# my <b> own\nlength:\n  steps: 7\n"
    presets, form, values = drawn(desk, **{"length.steps": 9})
    _, told = presets.saved("my <b> own", False, *values)
    assert "another name" in told["value"] and "steps: 7" in path.read_text(encoding="utf-8")
    presets.saved("my <b> own", True, *values)
    assert "steps: 9" in path.read_text(encoding="utf-8")
    flat, _ = filled(presets, form, values, "Yours: my <b> own")
    assert flat["length.steps"] == 9
    assert not [left for left in path.parent.iterdir() if left != path]  # atomic, and nothing is left behind


def test_a_bad_form_or_no_name_is_told(desk):
    presets, form, values = drawn(desk)
    index = form.inputs.index(form.widgets["batch.size"])
    values[index] = "x"
    _, told = presets.saved(" ", False, *values)
    assert "needs a name" in told["value"] and "whole number" in told["value"]
    assert not (desk.host.folders().scratch / "presets").exists()


@pytest.fixture
def client(desk):
    app = FastAPI()
    attach_routes(app, desk, {})
    return Described(app)


def test_the_api_lists_presets_and_imports(client):
    listed = client.get("/pivotal/v1/presets").json()["presets"]
    assert {one["name"] for one in listed} == {*list_presets()} and len(listed) == len([*SHIPPED.rglob("*.yaml")])
    assert next(one for one in listed if one["name"] == "kohya-guide-embedding")["flat"]["batch.accumulation"] == 15
    text = (FILES / "kohya_gui_ti.json").read_text(encoding="utf-8")
    answer = client.post("/pivotal/v1/import", json={"text": text}).json()
    assert answer["source"] == "kohya" and answer["options"]["embeddings.0.token_count"] == 5 and answer["problems"] == {}
    assert client.post("/pivotal/v1/check", json={"options": answer["options"]}).status_code == 200
    refused = client.post("/pivotal/v1/import", json={"text": "hello"})
    assert refused.status_code == 422 and "no trainer" in json.dumps(refused.json())
    assert client.post("/pivotal/v1/import", json={"text": 3}).status_code == 400
