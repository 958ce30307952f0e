"""Presets say how to train, and never take away what the user typed about his own images."""

from __future__ import annotations

import pytest
import yaml

from pivotal.config.build import build, draft
from pivotal.config.files import parse_run
from pivotal.config.options import everything
from pivotal.config.presets import (
    SHIPPED,
    changed_text,
    changes,
    filled_in,
    laid_under,
    list_presets,
    preset_called,
    preset_text,
    run_text,
    yours,
)
from pivotal.config.rules import notices_between
from pivotal.config.train import TrainConfig
from pivotal.errors import OptionError

PRESETS = list_presets()
MINE = {"name": "mara", "dataset.folder": "/images/mara", "embeddings.0.placeholder": "zkmara",
        "embeddings.0.initial_text": "woman", "samples.prompts": ["zkmara in a park"], "embeddings.0.token_count": "2",
        "optimizer.learning_rate": "0.1",
        "batch.size": 8, "embeddings.0.train": True}  # fmt: skip


def test_the_presets_of_the_brief_are_there():
    for subject in ("person", "object", "style"):
        for kind in ("embedding", "lora", "pivotal"):
            for family in ("sd", "sdxl"):
                assert f"{subject}-{kind}-{family}" in PRESETS
    assert {f"card-{gigabytes}gb" for gigabytes in (6, 8, 12, 24)} <= {*PRESETS}
    assert len({preset.title for preset in PRESETS.values()}) == len(PRESETS) >= 28


# Said although it is the default: for the reader, or because a default may change and the recipe must not.
SAID_ANYWAY = {"network.method", "network.rank", "network.alpha", "optimizer.learning_rate", "optimizer.kind", "dataset.captions",
               "cache.latents", "save.bundle", "targets.learning_rate", "targets.text_encoder_1_rate", "buckets.step",
               "batch.size", "batch.accumulation",
               "loss.gamma", "embeddings.0.initial_text", "precision.gradient_checkpointing"}  # fmt: skip


@pytest.mark.parametrize("name", [*PRESETS])
def test_each_preset_builds_and_sets_only_what_differs(name):
    preset = PRESETS[name]
    own = {"dataset.folder": "images", **({} if preset.whole else {"embeddings.0.placeholder": "zkmara"})}
    assert draft(TrainConfig, {**own, **preset.flat})[1] == {}
    assert 8 < len(preset.title) < 80 and preset.about.endswith(".")
    differing = {key for key, _, _ in changes({}, preset.flat)}
    assert {*preset.flat} - differing - SAID_ANYWAY - {"embeddings"} == set()
    assert not {key.replace(".0.", ".N.") for key in preset.flat} & (yours() - {"embeddings.N.initial_text"})


@pytest.mark.parametrize("name", [name for name in PRESETS if name.startswith(("person", "object", "style"))])
def test_our_own_recipes_give_no_cause_for_a_notice(name):
    made = build(TrainConfig, {"dataset.folder": "images", **PRESETS[name].flat})
    assert notices_between(made) == {}


def test_the_guides_recipe_is_the_guides():
    """Catalogue, S1: 5 vectors, rate 0.005, accumulation 15, 1000 steps, bf16, object template, cached latents, seed 1234."""
    made = build(TrainConfig, {"dataset.folder": "images", **PRESETS["kohya-guide-embedding"].flat})
    row = made.embeddings[0]
    assert (row.token_count, row.initial_text, made.optimizer.learning_rate, made.batch.accumulation, made.batch.size,
            made.length.steps, made.precision.compute, made.dataset.captions, made.cache.latents, made.seed,
            made.save.every_steps, made.network.method) == (
        5, "woman", 0.005, 15, 1, 1000, "bf16", "object", "memory", 1234, 200, "none")  # fmt: skip


def test_filling_in_keeps_what_is_the_users_and_resets_the_rest():
    made = filled_in(PRESETS["person-pivotal-sd"], MINE)
    config = build(TrainConfig, made)
    assert (config.name, config.dataset.folder, config.samples.prompts) == ("mara", "/images/mara", ("zkmara in a park",))
    row = config.embeddings[0]
    assert (row.placeholder, row.initial_text, row.token_count, row.preserve_norm) == ("zkmara", "woman", 4, True)
    assert config.batch.size == 2 and config.optimizer.learning_rate == 0.005  # not the form's 8 and 0.1


def test_a_preset_for_a_network_takes_the_rows_away_and_others_go_under_every_row():
    assert build(TrainConfig, filled_in(PRESETS["person-lora-sd"], MINE)).embeddings == ()
    two = {**MINE, "embeddings.1.placeholder": "zkhat"}
    rows = build(TrainConfig, filled_in(PRESETS["style-embedding-sd"], two)).embeddings
    assert [(row.placeholder, row.initial_text, row.token_count) for row in rows] == [
        ("zkmara", "woman", 8), ("zkhat", "painting", 8)]  # fmt: skip


def test_a_card_changes_memory_alone():
    made = filled_in(PRESETS["card-8gb"], MINE)
    differing = {key for key, _, _ in changes(MINE, made)}
    assert differing == {"batch.size", "batch.accumulation", "precision.gradient_checkpointing"}


def test_concepts_stay_whole_under_any_preset():
    concepts = {"concepts.0.folder": "women", "concepts.0.kind": "regularization", "concepts.0.repeats": 2}
    made = filled_in(PRESETS["person-lora-sdxl"], {**MINE, **concepts})
    assert {key: made[key] for key in concepts} == concepts


def test_under_a_run_file_a_preset_loses_to_every_key_of_it():
    run = {"dataset.folder": "a", "embeddings.0.placeholder": "x", "length.steps": 7}
    flat = laid_under(PRESETS["style-embedding-sd"].flat, run)
    config = build(TrainConfig, flat)
    assert (config.length.steps, config.embeddings[0].token_count, config.embeddings[0].placeholder) == (7, 8, "x")
    with_row = laid_under(PRESETS["person-lora-sd"].flat, {"dataset.folder": "a", "embeddings.0.placeholder": "x"})
    assert len(build(TrainConfig, with_row).embeddings) == 1  # the file's rows win over "no embeddings"


def test_changes_are_told_once_and_only_where_values_differ():
    told = changes({"batch.size": "4", "length.steps": 7}, {"length.steps": "9"})
    assert told == [("length.steps", 7, 9)]
    assert changes(MINE, MINE) == []


def test_a_form_becomes_a_preset_without_what_is_the_users():
    text = preset_text("My: own # one", MINE)
    flat = parse_run(text, "preset")
    assert flat == {"optimizer.learning_rate": 0.1, "batch.size": 8, "embeddings.0.token_count": 2}
    assert "mara" not in text


def test_what_is_written_as_changed_reads_back_the_same():
    flat = {"dataset.folder": "a: b", "embeddings.0.placeholder": "zk", "schedule.kind": "cosine", "seed": 1, "length.steps": 500}
    config = build(TrainConfig, flat)
    assert build(TrainConfig, parse_run(run_text(flat, "from\nhere"), "x")) == config
    assert "seed" not in changed_text(flat)  # at its default
    assert yaml.safe_load(changed_text({"embeddings": []})) == {"embeddings": []}


def test_a_users_preset_stands_beside_ours_and_a_broken_one_hides_none(tmp_path):
    (tmp_path / "mine.yaml").write_text("# Mine\n# For me.\nlength: {steps: 9}\n", encoding="utf-8")
    (tmp_path / "broken.yaml").write_text("a: [", encoding="utf-8")
    found = list_presets(tmp_path)
    mine = found["mine"]
    assert (mine.title, mine.about, mine.own, mine.flat) == ("Mine", "For me.", True, {"length.steps": 9})
    assert "not YAML" in found["broken"].about and len(found) == len(PRESETS) + 2
    with pytest.raises(OptionError, match="no-such"):
        preset_called("no-such", tmp_path)


def test_what_is_the_users_exists():
    keys = {option.key for option in everything(TrainConfig)}
    assert yours() <= keys and {"dataset.folder", "concepts.N.folder", "network.base_file"} <= yours()
    assert len([*SHIPPED.rglob("*.yaml")]) == len(PRESETS)
