"""What to train: one choice over the network's method and the rows of embeddings."""

import json

import gradio as gr
import pytest

from pivotal.config.train import TrainConfig
from pivotal.ui.form import Form
from pivotal.ui.subject import BOTH, EMBEDDING, NETWORK, Subject, chosen, subject_of

ROW = {"placeholder": "zkmara", "token_count": "4"}
OFF = ROW | {"off": True}
USUAL = [{"placeholder": "<embedding>"}]


@pytest.mark.parametrize(("method", "rows", "wanted"), [
    ("none", [ROW], EMBEDDING), ("none", [OFF, ROW], EMBEDDING), ("lora", [], NETWORK), ("loha", [OFF], NETWORK),
    ("full", [ROW], BOTH), ("none", [], None), ("none", [OFF], None),
])
def test_it_shows_what_the_form_trains(method, rows, wanted):
    assert subject_of(method, json.dumps(rows)) == wanted


@pytest.mark.parametrize(("subject", "method", "rows", "then"), [
    (NETWORK, "none", [ROW], ("lora", [OFF])),
    (NETWORK, "loha", [], ("loha", [])),
    (BOTH, "none", [ROW, OFF], ("lora", [ROW, OFF])),
    (BOTH, "dylora", [OFF], ("dylora", [ROW])),
    (EMBEDDING, "lora", [OFF, OFF], ("none", [ROW, ROW])),
    (EMBEDDING, "lora", [], ("none", USUAL)),
])
def test_a_press_changes_both_parts_and_loses_no_row(subject, method, rows, then):
    network, words = (update["value"] for update in chosen(subject, method, json.dumps(rows), json.dumps(USUAL)))
    assert (network, json.loads(words)) == then
    assert subject_of(network, words) == subject


@pytest.mark.parametrize(("values", "wanted"), [({}, EMBEDDING), ({"network.method": "lora"}, BOTH)])
def test_it_begins_with_what_the_form_begins_with(values, wanted):
    with gr.Blocks():
        subject = Subject()
        subject.connect(Form(TrainConfig, values))
    assert subject.choice.value == wanted and subject.choice.do_not_save_to_config
