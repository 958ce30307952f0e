"""Every preset carries out two steps on a tiny model of its family."""

from __future__ import annotations

import pytest

from fake_host import FakeHost, write_dataset
from pivotal.config.presets import laid_under, list_presets
from pivotal.jobs.checks.plan import make_plan
from pivotal.jobs.control import Control
from pivotal.jobs.desk import work_through

PRESETS = list_presets()
SMALL = {"dataset.resolution": "64", "length.steps": 2, "length.epochs": None, "samples.every_steps": 0,
         "samples.every_epochs": None, "measure.images": 0, "precision.compute": "fp32", "buckets.step": 8,
         "save.every_steps": 0, "batch.accumulation": 1,
         "dataset.repeats_in_names": False, "dataset.caption_extension": ".txt", "name": "run"}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name, preset in PRESETS.items() if preset.whole])
def test_a_preset_runs(tmp_path, name):
    preset = PRESETS[name].flat
    host = FakeHost(tmp_path / "host", family="sdxl" if name.endswith("sdxl") else "sd1")
    folder = write_dataset(tmp_path / "images", 4)
    own = {} if preset.get("embeddings") == [] else {"embeddings.0.placeholder": "zkteal"}
    flat = laid_under(preset, {**SMALL, "dataset.folder": str(folder), **own})
    events: list = []
    outcome = work_through(make_plan(flat, host), host, events.append, Control(patient=False))
    assert outcome is not None and outcome.files, events[-1]
