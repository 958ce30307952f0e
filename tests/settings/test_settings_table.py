"""A user of another trainer finds every setting he relies on, or the reason why it is none."""

from __future__ import annotations

import pytest

from pivotal.config.options import everything, tables
from pivotal.config.train import TrainConfig
from settings.documents import DOCUMENTS, Of
from settings.settings_table import FILE, TRAINERS, table, target

KNOWN = {option.key for option in everything(TrainConfig)} | {entry.key for entry in tables(TrainConfig)}
# How many settings each document names, counted in the catalogue's index; a lost one would be missed here.
LEAST = {"OneTrainer's wiki, Additional Embeddings": 20, "The Civitai guide to textual inversion with kohya's scripts": 36,
         "OneTrainer's wiki, Training": 32, "kohya_ss' LoRA settings, explained": 80,
         "Invoke Training's page, a walk-through": 60}  # fmt: skip


@pytest.mark.parametrize("title", [*DOCUMENTS])
def test_every_setting_of_a_document_has_an_option_or_a_reason(title):
    settings = DOCUMENTS[title]
    assert len(settings) >= LEAST[title]
    for label, setting in settings.items():
        if isinstance(setting, Of):
            assert setting.name in TRAINERS[setting.trainer][1], f"{label}: the import has no rule for {setting}"
        keys, remark = target(setting)
        assert keys or remark.endswith("."), f"{label}: neither an option nor a reason"


@pytest.mark.parametrize("trainer", [*TRAINERS])
def test_every_setting_of_a_trainer_has_an_option_or_a_reason(trainer):
    rules = TRAINERS[trainer][1]
    assert len(rules) >= 7
    for name, rule in rules.items():
        assert rule.keys or rule.text.endswith("."), f"{name}: neither an option nor a reason"


def test_every_option_that_is_named_exists():
    named = {key.replace(".0.", ".N.") for settings in DOCUMENTS.values() for one in settings.values() for key in target(one)[0]}
    named |= {key.replace(".0.", ".N.") for trainer, (_, rules) in TRAINERS.items() for rule in rules.values()
              for key in (rule.keys if trainer != "embedding" else [f"embeddings.N.{key}" for key in rule.keys])}
    assert named - KNOWN == set()
    assert len(named) > 100


def test_the_table_is_current():
    assert FILE.read_text(encoding="utf-8") == table(), "run: python tests/settings/write.py"


def test_most_options_that_peers_have_are_reached_by_an_import():
    """What no import can set is our own; a new option that a peer has should get a rule."""
    named = {key.replace(".0.", ".N.") for _, rules in TRAINERS.values() for rule in rules.values() for key in rule.keys}
    sections = {key.partition(".")[0] for key in named if "." in key}
    assert {"dataset", "caption", "buckets", "augment", "cache", "network", "targets", "blocks", "length", "batch", "optimizer",
            "schedule", "objective", "loss", "noise", "timesteps", "precision", "samples", "save", "measure", "mask", "logs",
            "concepts", "embeddings"} <= sections  # fmt: skip
