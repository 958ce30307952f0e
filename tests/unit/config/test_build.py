"""Raw values become a config, or every problem is told at once."""

from __future__ import annotations

import pytest

from pivotal.config.build import build, draft
from pivotal.config.files import dump_run, parse_run
from pivotal.config.options import everything, flatten
from pivotal.config.train import TrainConfig
from pivotal.errors import OptionError

ENOUGH = {"dataset.folder": "images", "embeddings.0.placeholder": "zkteal"}


def problems(**changes: object) -> dict[str, str]:
    flat = ENOUGH | {key.replace("__", "."): value for key, value in changes.items()}
    return draft(TrainConfig, flat)[1]


@pytest.mark.parametrize(("raw", "value"), [("1e-4", 1e-4), (" 0.5 ", 0.5), (3, 3.0), ("0", 0.0)])
def test_a_number_keeps_its_value_however_it_is_typed(raw, value):
    assert build(TrainConfig, ENOUGH | {"optimizer.learning_rate": raw}).optimizer.learning_rate == value


@pytest.mark.parametrize("raw", ["abc", "nan", "inf", "-inf", float("nan"), True, "", None, [1], "1,5"])
def test_a_bad_rate_is_named_and_never_becomes_the_default(raw):
    found = problems(optimizer__learning_rate=raw)
    assert list(found) == ["optimizer.learning_rate"]


@pytest.mark.parametrize(("raw", "expected"), [
    ("2.5", "a whole number"), ("0", "at least 1"), (513, "at most 512"), ("x", "a whole number"), (False, "a whole")])
def test_a_bad_batch_size_says_what_was_expected(raw, expected):
    assert expected in problems(batch__size=raw)["batch.size"]


def test_all_problems_come_at_once_with_those_between_options():
    found = problems(optimizer__learning_rate="abc", seed="nan", batch__sise=4, embeddings__1__placeholder="ZKTEAL",
                     samples__sampler="Eular", dataset__folder="")
    assert set(found) == {"optimizer.learning_rate", "seed", "batch.sise", "embeddings.1.placeholder",
                          "samples.sampler", "dataset.folder"}
    assert "did you mean batch.size" in found["batch.sise"]


def test_a_seed_above_2_to_53_is_not_rounded_and_too_large():
    assert build(TrainConfig, ENOUGH | {"seed": "4294967295"}).seed == 4294967295
    assert "9007199254740993" in problems(seed="9007199254740993")["seed"]


def test_empty_means_absent_only_where_an_option_may_be_absent():
    config = build(TrainConfig, ENOUGH | {"embeddings.0.token_count": "", "samples.prompts": "one\n\n two "})
    assert config.embeddings[0].token_count is None
    assert config.samples.prompts == ("one", "two")


def test_a_row_with_only_bad_values_still_counts_as_a_row():
    made, found = draft(TrainConfig, ENOUGH | {"embeddings.1.token_count": "x"})
    assert len(made.embeddings) == 2 and "embeddings.1.token_count" in found


@pytest.mark.parametrize(("changes", "key"), [
    ({"embeddings.0.stop_after": 5}, "embeddings.0.stop_unit"),
    ({"embeddings.0.stop_unit": "steps"}, "embeddings.0.stop_after"),
    ({"embeddings.0.train": "false"}, "embeddings.0.base_embedding"),
    ({"dataset.captions": "own"}, "dataset.templates"),
    ({"dataset.resolution": 100}, "dataset.resolution"),
    ({"name": " "}, "name"),
])
def test_rules_between_options_speak_under_the_option_to_mend(changes, key):
    with pytest.raises(OptionError) as error:
        build(TrainConfig, ENOUGH | changes)
    assert key in error.value.problems


def test_a_config_survives_yaml():
    flat = ENOUGH | {"optimizer.learning_rate": 1e-4, "samples.prompts": ["a: b", "# c", "ä, \u65e5\u672c"],
                     "embeddings.1.placeholder": "<angle> word", "embeddings.1.token_count": 3, "dataset.resolution": 64}
    config = build(TrainConfig, flat)
    assert build(TrainConfig, parse_run(dump_run(config), "here")) == config
    assert build(TrainConfig, flatten(config)) == config


def test_the_run_file_of_the_readme_is_understood():
    text = """
name: tealish
checkpoint: toy            # default: what the host has loaded
dataset: {folder: path/to/images}
embeddings:
  - {placeholder: tealish, token_count: 2, initial_text: green, learning_rate: 1e-2}
length: {steps: 200}
save: {every_steps: 50, state_every_steps: 50}
seed: 3
"""
    config = build(TrainConfig, parse_run(text, "run.yaml"))
    assert (config.embeddings[0].token_count, config.length.steps, config.seed) == (2, 200, 3)
    assert config.embeddings[0].learning_rate == 0.01  # PyYAML itself reads 1e-2 as a text


@pytest.mark.parametrize("text", ["- a\n- b", "name: [", "just words", "name: {a: b}"])
def test_a_file_that_is_no_run_is_refused_in_words(text):
    with pytest.raises(OptionError) as error:
        build(TrainConfig, parse_run(text, "run.yaml"))
    assert len(str(error.value)) < 600 and "Traceback" not in str(error.value)


def test_every_help_is_one_sentence_a_tooltip_can_show():
    options = list(everything(TrainConfig))
    assert len(options) > 35
    for option in options:
        text = option.spec.help
        assert text.endswith(".") and "\n" not in text and text[0].isupper() and 15 < len(text) < 160, option.key
