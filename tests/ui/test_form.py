"""The form shows every option once, and gives back under each key what was typed there."""

import json

import gradio as gr
import pytest

from pivotal.config.build import build, draft
from pivotal.config.options import Table, everything, flatten, tables, walk
from pivotal.config.sections.concept import Concept
from pivotal.config.sections.embedding import Embedding
from pivotal.config.train import TrainConfig
from pivotal.ui.form import Form
from pivotal.ui.rows import flat_from_rows, rows_from_flat, rows_text, schema

ROWS = {
    "embeddings.0.placeholder": "tealish",
    "embeddings.0.token_count": 2,
    "embeddings.1.placeholder": 'say "hi" <b>',
    "embeddings.1.train": False,
    "embeddings.1.base_embedding": "/x.safetensors",
    "embeddings.1.learning_rate": 1e-4,
}
FLAT = {
    "name": "two words",
    "dataset.folder": "/images",
    "dataset.captions": "own",
    "dataset.templates": ("a [name]", "[name], näher"),
    "dataset.resolution": 64,
    "length.steps": 7,
    "optimizer.learning_rate": 2e-5,
    "precision.gradient_checkpointing": True,
    "samples.cfg_scale": 7.5,
    **ROWS,
}
TABLE = Table("embeddings", Embedding)


def make(values=None):
    with gr.Blocks():
        return Form(TrainConfig, values)


def shown(form):
    """The values that the page sends when nothing was touched."""
    return [widget.value for widget in form.inputs]


def test_each_option_has_one_widget_or_stands_in_a_row():
    form = make()
    assert {*form.widgets} == {option.key for option in walk(TrainConfig)}
    in_rows = {f"{table.key}.N.{field['name']}" for table in tables(TrainConfig) for field in schema(table)["fields"]}
    assert {*form.widgets} | in_rows == {option.key for option in everything(TrainConfig)}
    assert len({widget.elem_id for widget in form.inputs}) == len(form.inputs)


def test_no_widget_is_frozen_into_the_hosts_ui_config():
    assert all(widget.do_not_save_to_config for widget in make().inputs)


def test_a_new_form_holds_the_defaults_and_one_row():
    form = make()
    flat = form.flat(shown(form))
    assert build(TrainConfig, {**flat, "dataset.folder": "/x"}) == build(
        TrainConfig, {"dataset.folder": "/x", "embeddings.0.placeholder": Embedding().placeholder}
    )


def test_what_is_put_into_the_form_comes_out_of_it():
    config = build(TrainConfig, FLAT)
    form = make(flatten(config))
    assert build(TrainConfig, form.flat(shown(form))) == config


def test_an_open_form_is_filled_with_a_run_and_cleared_of_the_last():
    config = build(TrainConfig, FLAT)
    form = make({"seed": 77})
    values = [update["value"] for update in form.filled(FLAT)]
    assert build(TrainConfig, form.flat(values)) == config


def test_raw_values_pass_unchanged_for_build_to_judge():
    form = make(FLAT)
    values = shown(form)
    values[[option.key for option in walk(TrainConfig)].index("optimizer.learning_rate")] = "abc"
    assert form.flat(values)["optimizer.learning_rate"] == "abc"


def test_a_section_with_a_problem_is_unfolded_and_no_other():
    form = make()
    updates = dict(zip(form.sections, form.opened({"objective.clip_skip": "x", "dataset.folder": "y", "seed": "z"}), strict=True))
    opened = {name for name, update in updates.items() if update.get("open")}
    assert opened == {"objective", ""}  # the dataset's folder is on the first page; the seed is general
    updates = dict(zip(form.sections, form.opened({"embeddings": "x", "concepts": "y"}), strict=True))
    assert {name for name, update in updates.items() if update.get("open")} == {"concepts"}  # embeddings are in sight


def test_an_option_that_depends_on_another_is_hidden_at_first():
    assert not make()._boxes["dataset.templates"].visible
    assert make(FLAT)._boxes["dataset.templates"].visible


@pytest.mark.parametrize("rows", [[], [{}], [{"placeholder": "a"}, {"placeholder": "b", "token_count": 3, "train": False}]])
def test_rows_go_round_through_their_text_box(rows):
    flat = flat_from_rows(rows_text(rows, TABLE), TABLE)
    assert len(rows_from_flat(flat, TABLE)) == len(rows)
    made, problems = draft(TrainConfig, flat)
    assert made.embeddings == tuple(Embedding(**row) for row in rows)
    assert not any("expected" in text for text in problems.values())


def test_the_script_of_the_rows_is_told_every_word_it_shows():
    told = schema(TABLE)
    assert json.loads(json.dumps(told)) == told
    by_name = {field["name"]: field for field in told["fields"]}
    assert by_name["train"]["switch"] and not by_name["preserve_norm"]["switch"]
    assert by_name["fill"]["choices"] == ["pad", "repeat", "stretch", "random"]
    assert by_name["initial_text"]["classes"] == ["pivotal-tokens", "pivotal-tokens-caption"]
    assert all(field["help"] and field["label"] for field in told["fields"])


def test_the_token_marks_name_fields_that_exist():
    told = schema(TABLE)
    names = {field["name"] for field in told["fields"]}
    marks = {other for field in told["fields"] for other in field["marks"].values()}
    assert marks == {"token_count", "fill"} <= names
    assert {*told["vectors"].values()} <= names


def test_a_section_that_means_nothing_without_a_network_is_hidden_until_one_is_chosen():
    plain, lora = make(), make({"network.method": "lora"})
    hidden = {name for name, section in plain.sections.items() if not section.visible}
    assert hidden == {"network", "targets", "blocks", "pivot"}
    assert all(section.visible for section in lora.sections.values())
    assert not lora._boxes["network.factor"].visible and lora._boxes["network.rank"].visible


def test_a_row_that_is_switched_off_stays_on_the_page_and_out_of_the_run():
    rows = json.dumps([{"placeholder": "a", "off": True}, {"placeholder": "b"}])
    assert flat_from_rows(rows, TABLE) == {"embeddings.0.placeholder": "b"}
    assert schema(TABLE)["can_be_off"] and not schema(Table("concepts", Concept))["can_be_off"]  # these have an option for it


def test_the_page_is_told_what_the_form_was_filled_with():
    form = make({"seed": 3, "optimizer.learning_rate": 1e-5})
    known = json.loads(form.inputs[-1].value)
    assert known["seed"] == 3 and known["optimizer.learning_rate"] == "1e-05"
    assert json.loads(known["embeddings"])[0]["placeholder"] == Embedding().placeholder
    assert {*known} == {*form.widgets} | {*form.editors}
    again = json.loads(form.filled({"seed": 4, "embeddings.0.placeholder": "x"})[-1]["value"])
    assert again["seed"] == 4 and json.loads(again["embeddings"])[0]["placeholder"] == "x"
