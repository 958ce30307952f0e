"""Every option is used, and the README lists it as it is."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import pytest

from architecture.option_reads import expected, reads
from pivotal.config.derived import docs_table
from pivotal.config.optimizers import USUAL, Usual, resolved
from pivotal.config.options import everything
from pivotal.config.sections.training import Optimizer
from pivotal.config.train import TrainConfig

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.once
PACKAGE = ROOT / "extension" / "pivotal"


# Read by a loop over the fields of config.optimizers.Usual.
READ_BY_NAME = {f"optimizer.{field.name}" for field in fields(Usual)}


def test_no_option_is_dead():
    """Each option is read, as its section's, where something is done: not only declared, checked or shown."""
    wanted = expected(TrainConfig)
    assert len(wanted) > 150 and len(wanted) == len(list(everything(TrainConfig)))
    assert sorted(wanted - reads(PACKAGE, TrainConfig) - READ_BY_NAME) == []


@pytest.mark.parametrize("key", sorted(READ_BY_NAME))
def test_what_is_read_by_name_has_an_effect(key):
    name = key.rpartition(".")[2]
    kind = next(kind for kind in USUAL if getattr(USUAL[kind], name) is not None)
    assert getattr(resolved(replace(Optimizer(kind=kind), **{name: 0.125})), name) == 0.125


@pytest.mark.parametrize(("text", "found"), [
    ("def f(config: TrainConfig):\n    return config.noise.offset", {"noise.offset"}),
    ("def f(config):\n    n, t = config.noise, config.timesteps\n    return n.offset + t.bias", {"noise.offset",
    "timesteps.bias"}),
    ("from pivotal.config.sections.loss import Noise as N\ndef f(x: N | None):\n    return x.offset", {"noise.offset"}),
    ("def f(config):\n    return [row.train for row in config.embeddings]", {"embeddings.train"}),
    ("def f(config):\n    for i, row in enumerate(config.concepts):\n        yield row.kind", {"concepts.kind"}),
    ("def f(plan):\n    return plan.config.save.every_steps", {"save.every_steps"}),
    ("class Noise: ...\ndef f(x: Noise):\n    return x.offset", set()),  # not ours
    ("def f(config):\n    config.noise.offset = 1", set()),
])  # fmt: skip
def test_reads_are_told_apart_by_their_section(tmp_path, text, found):
    (tmp_path / "a.py").write_text(text, encoding="utf-8")
    assert reads(tmp_path, TrainConfig) & expected(TrainConfig) == found


def test_the_readmes_table_is_the_options_own():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert docs_table(TrainConfig) in text, "run: python -m pivotal options, and put its output into README.md"
