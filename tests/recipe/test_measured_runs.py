"""Runs that are measured, logged, sampled and told what to do on the way."""

from __future__ import annotations

import csv
import json

import pytest
import torch

from fake_host import FakeHost, write_dataset
from pivotal.errors import OptionError
from pivotal.events import Finished, LossesTold, Measured, Noticed, Sampled, Saved, StepDone
from pivotal.formats.embedding_file import read_embedding
from pivotal.jobs.checks.plan import make_plan
from pivotal.jobs.control import Control
from pivotal.jobs.desk import work_through
from runs import QUICK, fingerprint
from runs import carry_out as carry_out_any

pytestmark = pytest.mark.once


def carry_out(host, folder, **changes):
    return carry_out_any(host, folder, **{"measure__images": 2} | changes)


def vectors(folder, name="zkteal"):
    return read_embedding(folder / "embeddings" / f"{name}.safetensors", 1)[0]


def of_type(events, kind):
    return [event for event in events if isinstance(event, kind)]


def with_errors(monkeypatch, by_step):
    """Measurements that say what the test wants: the error by step."""
    from pivotal.jobs import measuring

    real = measuring.denoising_errors

    def scripted(session, *arguments):
        found = real(session, *arguments)
        error = by_step.get(session.progress.step, found.error)
        return type(found)(error, found.by_timestep, found.by_item)

    monkeypatch.setattr(measuring, "denoising_errors", scripted)


def test_errors_are_measured_on_the_way_and_told(tmp_path):
    outcome, events = carry_out(FakeHost(tmp_path), write_dataset(tmp_path / "images"), measure__every_steps=3)
    told = of_type(events, Measured)
    assert [event.step for event in told] == [0, 3, 6, 8] and not any(event.held_out for event in told)
    assert told[0].error == outcome.metrics["error_before"] and told[-1].error == outcome.metrics["error_after"]
    for event in told:
        assert list(event.by_timestep) == ["100", "300", "500", "700", "900"]
        assert event.error == pytest.approx(sum(event.by_timestep.values()) / 5)


def test_measuring_changes_nothing_of_what_is_learned(tmp_path):
    images = write_dataset(tmp_path / "images")
    carry_out(FakeHost(tmp_path / "a"), images, measure__images=0)
    carry_out(FakeHost(tmp_path / "b"), images, measure__every_steps=1, save__best=True)
    assert torch.equal(vectors(tmp_path / "a"), vectors(tmp_path / "b"))


@pytest.mark.parametrize("ema", [None, 0.5])
def test_a_run_stops_when_its_patience_is_over_and_gives_back_its_best_step(tmp_path, monkeypatch, ema):
    images = write_dataset(tmp_path / "images")
    with_errors(monkeypatch, {1: 0.5, 2: 0.3, 3: 0.2, 4: 0.25, 5: 0.21, 6: 0.1})
    changes = {"measure__every_steps": 1, "measure__patience": 2, "optimizer__ema_decay": ema}
    outcome, events = carry_out(FakeHost(tmp_path / "best"), images, measure__restore_best=True, **changes)
    assert outcome.step == 5 and not outcome.stopped and outcome.metrics["error_after"] == 0.2
    assert any("step 3" in event.text for event in of_type(events, Noticed))
    carry_out(FakeHost(tmp_path / "last"), images, **changes)
    carry_out(FakeHost(tmp_path / "three"), images, optimizer__ema_decay=ema, length__steps=3)
    carry_out(FakeHost(tmp_path / "five"), images, optimizer__ema_decay=ema, length__steps=5)
    assert torch.equal(vectors(tmp_path / "best"), vectors(tmp_path / "three"))
    assert torch.equal(vectors(tmp_path / "last"), vectors(tmp_path / "five"))
    assert not torch.equal(vectors(tmp_path / "best"), vectors(tmp_path / "last"))


def test_patience_and_the_best_step_outlast_a_stop(tmp_path, monkeypatch):
    images = write_dataset(tmp_path / "images")
    with_errors(monkeypatch, {1: 0.5, 2: 0.3, 3: 0.4, 4: 0.35, 5: 0.1})
    changes = {"measure__every_steps": 1, "measure__patience": 2, "measure__restore_best": True}
    carry_out(FakeHost(tmp_path / "parts"), images, stop_after=3, **changes)
    outcome, events = carry_out(FakeHost(tmp_path / "parts"), images, resume=True, **changes)
    assert [event.step for event in of_type(events, StepDone)] == [4] and outcome.step == 4
    carry_out(FakeHost(tmp_path / "two"), images, length__steps=2)
    assert torch.equal(vectors(tmp_path / "parts"), vectors(tmp_path / "two"))


def test_the_best_step_is_also_written_beside_the_result(tmp_path, monkeypatch):
    images = write_dataset(tmp_path / "images")
    with_errors(monkeypatch, {2: 0.3, 4: 0.2, 6: 0.25, 8: 0.3})
    host = FakeHost(tmp_path)
    _, events = carry_out(host, images, measure__every_steps=2, save__best=True, save__keep_copies=1)
    best = tmp_path / "embeddings" / "zkteal-best.safetensors"
    assert [event.step for event in of_type(events, Saved) if event.path == best] == [2, 4]
    carry_out(FakeHost(tmp_path / "four"), images, length__steps=4)
    assert torch.equal(vectors(tmp_path, "zkteal-best"), vectors(tmp_path / "four"))
    assert not torch.equal(vectors(tmp_path), vectors(tmp_path, "zkteal-best"))
    assert not (tmp_path / "pivotal" / "runs" / "run" / "replaced").exists()  # the run's own copy is nobody's loss


def test_a_run_that_learns_by_heart_is_told(tmp_path, monkeypatch):
    images = write_dataset(tmp_path / "images")
    held_out = write_dataset(tmp_path / "held out", count=2, colour=(200, 40, 40))
    with_errors(monkeypatch, {1: 0.2, 2: 0.3, 3: 0.4, 4: 0.5, 5: 0.6, 6: 0.7, 7: 0.8, 8: 0.9})
    losses = iter([9.0, 8.0, 7.0, 6.0, 5.0, 4.0, 3.0, 2.0])
    from pivotal.training.settings import Progress

    real = Progress.after
    monkeypatch.setattr(Progress, "after", lambda self, images, seconds, _loss: real(self, images, seconds, next(losses)))
    _, events = carry_out(FakeHost(tmp_path), images, measure__every_steps=1, measure__folder=str(held_out))
    told = [event for event in of_type(events, Noticed) if "by heart" in event.text]
    assert len(told) == 1 and "step 1" in told[0].text
    assert all(event.held_out for event in of_type(events, Measured))


def test_nothing_is_praised_that_is_worse_than_before_the_run(tmp_path, monkeypatch):
    with_errors(monkeypatch, {0: 0.3, 2: 0.5, 4: 0.4, 6: 0.29, 8: 0.35})
    _, events = carry_out(FakeHost(tmp_path), write_dataset(tmp_path / "images"), measure__every_steps=2)
    assert [event.step for event in of_type(events, Measured) if event.best] == [6]


def test_what_cannot_be_measured_is_said_before_the_start(tmp_path):
    images = write_dataset(tmp_path / "images")
    for changes in ({"measure__patience": 3}, {"measure__restore_best": True}, {"save__best": True},
                    {"measure__every_steps": 2, "measure__images": 0}):
        with pytest.raises(OptionError) as error:
            carry_out(FakeHost(tmp_path), images, **changes)
        (key,) = error.value.problems
        assert key.replace(".", "__") in {*changes, "measure__images"}


def test_each_steps_numbers_are_in_a_table(tmp_path):
    images = write_dataset(tmp_path / "images")
    _, events = carry_out(FakeHost(tmp_path), images, measure__every_steps=4, stop_after=5)
    _, more = carry_out(FakeHost(tmp_path), images, measure__every_steps=4, resume=True)
    path = tmp_path / "pivotal" / "runs" / "run" / "steps.csv"
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    steps = of_type([*events, *more], StepDone)
    assert [int(row["step"]) for row in rows] == [event.step for event in steps] == [1, 2, 3, 4, 5, 6, 7, 8]
    assert [float(row["loss"]) for row in rows] == [event.loss for event in steps]
    assert [float(row["rate zkteal"]) for row in rows] == [0.02] * 8
    errors = {event.step: event.error for event in of_type(events, Measured) + of_type(more, Measured)[1:] if event.step}
    assert list(errors) == [4, 5, 8]  # where the first part was stopped it was measured, too
    assert {int(row["step"]): float(row["measured"]) for row in rows if row["measured"]} == errors
    carry_out(FakeHost(tmp_path), images, length__steps=2)  # a new run of that name begins a new table
    assert len(path.read_text("utf-8").splitlines()) == 3
    carry_out(FakeHost(tmp_path / "without"), images, logs__csv=False)
    assert not (tmp_path / "without" / "pivotal" / "runs" / "run" / "steps.csv").exists()


def test_the_hardest_images_are_told_over_a_stop(tmp_path):
    images = write_dataset(tmp_path / "images")
    changes = {"length__steps": 30, "loss__weighting": "min-snr"}
    _, events = carry_out(FakeHost(tmp_path / "whole"), images, **changes)
    carry_out(FakeHost(tmp_path / "parts"), images, stop_after=11, **changes)
    _, parts = carry_out(FakeHost(tmp_path / "parts"), images, resume=True, **changes)
    (told,), (again,) = of_type(events, LossesTold), of_type(parts, LossesTold)
    assert told.worst == again.worst and told.by_timestep == again.by_timestep
    with told.path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["image"] for row in rows} == {str(path) for path in images.glob("*.png")}
    assert sum(int(row["times"]) for row in rows) == 60 and {int(row["times"]) for row in rows} == {10}
    relative = [float(row["relative"]) for row in rows]
    assert relative == sorted(relative, reverse=True)


def test_prompts_say_how_they_are_drawn(tmp_path):
    from PIL import Image

    lines = "# a comment\nzkteal --w 72 --h 100 --d 7 --l 3 --s 2 --ss euler_a --n blurry\nplain"
    _, events = carry_out(FakeHost(tmp_path), write_dataset(tmp_path / "images"), samples__every_steps=8, samples__steps=1,
                          samples__prompts=lines, samples__count=2, samples__seed=4)
    drawn = [event for event in of_type(events, Sampled) if event.step == 8]
    assert [(event.prompt, event.seed) for event in drawn] == [("zkteal", 7), ("zkteal", 8), ("plain", 4), ("plain", 5)]
    assert len({event.path for event in of_type(events, Sampled)}) == 8
    with Image.open(drawn[0].path) as first, Image.open(drawn[2].path) as third:
        assert first.size == (72, 96) and third.size == (64, 64)
        text = first.info["parameters"]
    assert "Negative prompt: blurry" in text and "Steps: 2" in text and "Sampler: Euler a" in text and "CFG scale: 3.0" in text


def test_samples_come_from_the_average_the_last_step_or_both(tmp_path):
    images = write_dataset(tmp_path / "images")
    changes = {"samples__every_steps": 8, "samples__steps": 2, "samples__prompts": "zkteal", "optimizer__ema_decay": 0.9}
    made = {}
    for weights in ("averaged", "last", "both"):
        _, events = carry_out(FakeHost(tmp_path / weights), images, samples__weights=weights, **changes)
        made[weights] = {event.raw: event.path.read_bytes() for event in of_type(events, Sampled) if event.step == 8}
    assert list(made["averaged"]) == [False] and list(made["last"]) == [True] and list(made["both"]) == [False, True]
    assert made["both"][False] == made["averaged"][False] != made["last"][True] == made["both"][True]
    changes["optimizer__ema_decay"] = None
    _, events = carry_out(FakeHost(tmp_path / "none"), images, samples__weights="both", **changes)
    assert [event.raw for event in of_type(events, Sampled)] == [False, False]  # there is no average to be told apart


def test_a_sample_and_a_copy_come_when_they_are_asked_for(tmp_path):
    host, control, events = FakeHost(tmp_path), Control(patient=False), []

    def ask(step):
        if step == 3:
            control.sample.set()
        if step == 5:
            control.save.set()

    host.change = ask
    flat = QUICK | {"dataset.folder": str(write_dataset(tmp_path / "images")), "samples.steps": 1, "samples.prompts": "zkteal",
                    "save.state_every_steps": 0}
    before = fingerprint(host)
    work_through(make_plan(flat, host), host, events.append, control)
    assert fingerprint(host) == before and isinstance(events[-1], Finished)
    assert [event.step for event in of_type(events, Sampled)] == [4]
    assert [(event.step, event.kind) for event in of_type(events, Saved)] == [
        (6, "embedding"), (6, "state"), (8, "state"), (8, "embedding")]
    copy = tmp_path / "embeddings" / "zkteal-000006.safetensors"
    assert copy.is_file()


def test_every_event_of_a_run_is_in_its_journal(tmp_path):
    _, events = carry_out(FakeHost(tmp_path), write_dataset(tmp_path / "images"), measure__every_steps=4)
    lines = (tmp_path / "pivotal" / "runs" / "run" / "events.jsonl").read_text("utf-8").splitlines()
    found = [json.loads(line) for line in lines]
    assert [line["event"] for line in found] == [type(event).__name__ for event in events]
    (told,) = [line for line in found if line["event"] == "LossesTold"]
    assert told["worst"][0]["path"].endswith(".png") and told["worst"][0]["times"] > 0
