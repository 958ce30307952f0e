"""Whole runs whose length, averages and rhythm are given in other ways than steps."""

from __future__ import annotations

import pytest
import torch

from fake_host import FakeHost, write_dataset
from pivotal.errors import OptionError
from pivotal.events import Noticed, Sampled, Saved, StepDone
from pivotal.formats.embedding_file import read_embedding
from runs import carry_out

pytestmark = pytest.mark.once


def vectors(folder, name="zkteal"):
    return read_embedding(folder / "embeddings" / f"{name}.safetensors", 1)[0]


def test_a_run_in_epochs_saves_and_draws_by_epochs(tmp_path):
    images = write_dataset(tmp_path / "images")
    count = len(list(images.glob("*.png")))
    outcome, events = carry_out(FakeHost(tmp_path), images, length__epochs=2, batch__size=count, save__every_epochs=1,
                                samples__every_epochs=1, samples__steps=1, samples__prompts="zkteal", measure__images=0)
    assert outcome.step == 2 and [event.of for event in events if isinstance(event, StepDone)] == [2, 2]
    assert [event.step for event in events if isinstance(event, Saved) and event.kind == "embedding"] == [1, 2]
    assert [event.step for event in events if isinstance(event, Sampled)] == [0, 1, 2]


def test_a_pivot_outside_of_a_run_in_epochs_is_found_before_the_start(tmp_path):
    with pytest.raises(OptionError) as error:
        carry_out(FakeHost(tmp_path), write_dataset(tmp_path / "images"), length__epochs=1, pivot__at=900,
                  pivot__order="embeddings first", network__method="lora")
    assert list(error.value.problems) == ["pivot.at"]
    with pytest.raises(OptionError) as error:
        carry_out(FakeHost(tmp_path), tmp_path / "images", length__epochs=1, schedule__kind="points", schedule__points="900:1")
    assert list(error.value.problems) == ["schedule.points"]


def test_a_time_limit_ends_a_run_with_its_files(tmp_path):
    outcome, _ = carry_out(FakeHost(tmp_path), write_dataset(tmp_path / "images"), length__minutes=1e-6,
                           length__steps=1000, measure__images=0)
    assert outcome.step == 1 and not outcome.stopped and (tmp_path / "embeddings" / "zkteal.safetensors").exists()


def test_of_a_run_with_an_average_both_may_be_kept(tmp_path):
    images = write_dataset(tmp_path / "images")
    plain = {"measure__images": 0, "length__steps": 4}
    carry_out(FakeHost(tmp_path / "raw"), images, **plain)
    carry_out(FakeHost(tmp_path / "both"), images, **plain, optimizer__ema_half_life=20, save__ema="both", save__every_steps=2)
    carry_out(FakeHost(tmp_path / "last"), images, **plain, optimizer__ema_half_life=20, save__ema="last")
    last = vectors(tmp_path / "raw")
    assert torch.equal(vectors(tmp_path / "both", "zkteal-raw"), last) and torch.equal(vectors(tmp_path / "last"), last)
    assert not torch.equal(vectors(tmp_path / "both"), last)
    assert {path.stem for path in (tmp_path / "both" / "embeddings").iterdir()} == {
        "zkteal", "zkteal-raw", "zkteal-000002", "zkteal-000002-raw"}


@pytest.mark.parametrize("kind", ["schedule-free adamw", "prodigy"])
def test_stopping_and_looking_change_nothing_of_what_is_learned(tmp_path, kind):
    images = write_dataset(tmp_path / "images")
    rate = 1.0 if kind == "prodigy" else 0.02
    changes = {"optimizer__kind": kind, "optimizer__learning_rate": rate, "measure__images": 2, "length__steps": 6}
    carry_out(FakeHost(tmp_path / "whole"), images, **changes)
    carry_out(FakeHost(tmp_path / "parts"), images, stop_after=3, samples__every_steps=1, samples__steps=1, **changes)
    carry_out(FakeHost(tmp_path / "parts"), images, resume=True, **changes)
    assert torch.equal(vectors(tmp_path / "whole"), vectors(tmp_path / "parts"))


def test_the_relative_step_is_told_and_an_unknown_argument_stops_the_start(tmp_path):
    images = write_dataset(tmp_path / "images")
    _, events = carry_out(FakeHost(tmp_path), images, optimizer__kind="adafactor", optimizer__relative_step=True,
                          length__steps=1, measure__images=0)
    assert any(isinstance(event, Noticed) and event.key == "optimizer.relative_step" for event in events)
    with pytest.raises(OptionError) as error:
        carry_out(FakeHost(tmp_path), images, optimizer__arguments="amsgradd = True")
    assert "amsgrad?" in error.value.problems["optimizer.arguments"]
