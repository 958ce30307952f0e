"""What does not go together with an optimizer or a schedule is said under the key that caused it."""

from __future__ import annotations

import math

import pytest

from pivotal.config.build import build, draft
from pivotal.config.optimizers import USUAL, described, kinds_with, parse_arguments, usual_text
from pivotal.config.rules import notices_between
from pivotal.config.train import TrainConfig

BASE = {"dataset.folder": "images", "embeddings.0.placeholder": "a"}
NETWORK = {"network.method": "lora", "targets.learning_rate": 1.0}
FREE = {"optimizer.kind": "schedule-free adamw"}


@pytest.mark.parametrize(("changes", "key", "word"), [
    ({"optimizer.kind": "sgd", "optimizer.beta_2": 0.9}, "optimizer.beta_2", "has no beta 2"),
    ({"optimizer.kind": "lion", "optimizer.epsilon": 1e-6}, "optimizer.epsilon", "has no epsilon"),
    ({"optimizer.kind": "other", "optimizer.name": "RAdam", "optimizer.weight_decay": 1}, "optimizer.weight_decay", "argument"),
    ({"optimizer.kind": "other"}, "optimizer.name", "class"),
    ({"optimizer.arguments": "lr = 3"}, "optimizer.arguments", "learning rates"),
    ({"optimizer.arguments": "just words"}, "optimizer.arguments", "weight_decouple = True"),
    ({"optimizer.arguments": "eps = 1\neps = 2"}, "optimizer.arguments", "twice"),
    ({"optimizer.kind": "sgd", "optimizer.beta_1": 0}, "optimizer.nesterov", "beta 1"),
    ({"optimizer.kind": "adafactor", "optimizer.warmup_init": True}, "optimizer.warmup_init", "relative step"),
    ({"optimizer.ema_decay": 0.9, "optimizer.ema_half_life": 50}, "optimizer.ema_half_life", "empty"),
    ({"optimizer.kind": "dadapt lion", "optimizer.learning_rate": 0.01}, "optimizer.learning_rate", "about 1"),
    ({"optimizer.kind": "prodigy", "optimizer.learning_rate": 1, "network.plus_ratio": 16} | NETWORK, "network.plus_ratio", "1"),
    ({"optimizer.kind": "adafactor", "optimizer.relative_step": True, **NETWORK, "blocks.weights": "1"}, "blocks.weights", "one"),
    (FREE | {"schedule.kind": "cosine"}, "schedule.kind", "constant"),
    (FREE | {"embeddings.0.schedule": "linear"}, "embeddings.0.schedule", "constant"),
    (FREE | NETWORK | {"targets.schedule": "rex"}, "targets.schedule", "constant"),
    (FREE | NETWORK | {"network.norm_limit": 1}, "network.norm_limit", "average"),
    (FREE | {"optimizer.ema_decay": 0.9}, "optimizer.ema_decay", "average"),
    (FREE | {"optimizer.beta_1": 0}, "optimizer.beta_1", "above 0"),
    (FREE | {"embeddings.0.preserve_norm": True}, "embeddings.0.preserve_norm", "average"),
    ({"schedule.kind": "rate list"}, "schedule.rates", "needs it"),
    ({"schedule.kind": "rate list", "schedule.rates": "0.1:9, x"}, "schedule.rates", "'x'"),
    ({"embeddings.0.schedule": "rate list", "embeddings.0.rates": "fast"}, "embeddings.0.rates", "'fast'"),
    ({"schedule.kind": "points", "schedule.points": "600:1"}, "schedule.points", "500 steps"),
    ({"schedule.kind": "formula", "schedule.formula": "p - 1"}, "schedule.formula", "-1")])
def test_what_does_not_go_together_is_said(changes, key, word):
    _, problems = draft(TrainConfig, BASE | changes)
    assert list(problems) == [key] and word in problems[key]


@pytest.mark.parametrize("changes", [
    {"schedule.rates": "nonsense", "schedule.formula": "import os"},  # nobody asks for them
    {"schedule.kind": "rate list", "embeddings.0.rates": "0.1:9", "length.steps": 20},
    {"schedule.kind": "points", "schedule.points": "600:1", "length.epochs": 9},  # nobody knows yet whether it is within the run
    {"optimizer.kind": "adafactor", "optimizer.beta_1": 0.9}, FREE | {"schedule.warmup": 0.1},
    {"optimizer.kind": "prodigy", "optimizer.learning_rate": 0}, {"optimizer.kind": "tiger", "optimizer.weight_decay": 0}])
def test_what_goes_together_is_left_alone(changes):
    assert draft(TrainConfig, BASE | changes)[1] == {}


@pytest.mark.parametrize(("changes", "key"), [
    ({"optimizer.kind": "adafactor", "optimizer.relative_step": True}, "optimizer.relative_step"),
    ({"optimizer.kind": "lion 8-bit"}, "optimizer.kind"), ({"optimizer.learning_rate": 1}, "optimizer.learning_rate"),
    ({"schedule.kind": "rate list", "schedule.rates": "0.01", "network.method": "lora"}, "schedule.rates"),
    ({"schedule.kind": "points", "schedule.points": "0:1", "length.minutes": 5}, "length.minutes"),
    ({"schedule.kind": "linear", "schedule.minimum": 1}, "schedule.minimum")])
def test_what_is_perhaps_not_meant_is_told(changes, key):
    assert key in notices_between(build(TrainConfig, BASE | changes))
    assert notices_between(build(TrainConfig, BASE)) == {}


def test_the_table_of_usual_values_is_whole_and_told():
    assert usual_text("beta_1").startswith("0.9; ") and "adan 0.98" in usual_text("beta_1")
    assert "lion" in kinds_with("beta_2") and "sgd" not in kinds_with("beta_2") and "other" not in kinds_with("weight_decay")
    for usual in USUAL.values():
        values = [usual.beta_1, usual.beta_2, usual.beta_3, usual.epsilon, usual.weight_decay]
        assert all(value is None or (math.isfinite(value) and 0 <= value < 1) for value in values)


def test_a_file_says_with_which_values_its_optimizer_worked():
    config = build(TrainConfig, BASE | {"optimizer.kind": "lion", "optimizer.beta_1": 0.95,
                                        "optimizer.arguments": "cautious = True"})
    assert described(config.optimizer) == "lion(beta_1=0.95, beta_2=0.99, weight_decay=0, cautious = True)"


def test_arguments_are_numbers_truths_pairs_and_words():
    lines = ["a = 1e-3", "b=True", " c = (0.9, 0.99)", "d = None", "e = some words"]
    assert parse_arguments(lines) == {"a": 1e-3, "b": True, "c": (0.9, 0.99), "d": None, "e": "some words"}
