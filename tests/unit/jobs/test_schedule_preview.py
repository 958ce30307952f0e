"""What is drawn of the learning rates before a run is what the run's parts then learn with."""

from __future__ import annotations

import pytest

from fake_host import FakeHost, write_dataset
from pivotal.config.build import build
from pivotal.config.train import TrainConfig
from pivotal.events import StepDone
from pivotal.jobs.schedule_preview import courses
from runs import QUICK, carry_out


def config(**changes):
    return build(TrainConfig, {"dataset.folder": "images", "embeddings.0.placeholder": "a"} | {
        key.replace("__", "."): value for key, value in changes.items()})


def test_the_courses_are_those_with_which_a_run_then_learns(tmp_path):
    changes = {"network__method": "lora", "targets__text_encoder_1": True, "targets__schedule": "cosine",
               "schedule__warmup": 0.25, "schedule__kind": "linear", "pivot__order": "embeddings first",
               "embeddings__0__learning_rate": 0.01}
    _, events = carry_out(FakeHost(tmp_path), write_dataset(tmp_path / "images"), measure__images=0, **changes)
    found = courses(build(TrainConfig, QUICK | {"dataset.folder": "x"} | {key.replace("__", "."): value
                                                                        for key, value in changes.items()}))
    seen = [event for event in events if isinstance(event, StepDone)]
    assert len(found.courses) == 3 and len(seen) == 8 and found.steps == 8 and found.is_exact
    for place, name in enumerate(seen[0].rates):
        assert [rate for _, rate in found.courses[place].points] == pytest.approx([event.rates[name] for event in seen])


def test_a_long_run_has_as_many_points_as_a_picture_needs():
    found = courses(config(length__steps=100_000, schedule__kind="cosine"))
    assert 200 < len(found.courses[0].points) < 300 and found.courses[0].points[-1][0] == 99_999


def test_what_cannot_be_known_or_is_not_used_is_said():
    assert not courses(config(length__epochs=3)).is_exact
    assert courses(config(length__images=400, batch__size=4)).steps == 100
    assert courses(config(optimizer__kind="prodigy", optimizer__learning_rate=1)).finds_rates
    assert courses(config(optimizer__kind="adafactor", optimizer__relative_step=True)).courses == ()
    assert courses(config(embeddings__1__placeholder="b", embeddings__1__train=False, embeddings__1__base_embedding="f")
                   ).courses[0].peak == 0.005
