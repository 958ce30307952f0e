"""Runs that are paused, resumed and discarded; each ends as one that was left alone."""

from __future__ import annotations

import threading
import weakref
from collections import Counter

import pytest
import torch

from fake_host import FakeHost, write_dataset
from pivotal.errors import HostError
from pivotal.events import (
    Discarded,
    Failed,
    Finished,
    Measured,
    Noticed,
    Paused,
    Phase,
    Planned,
    Resumed,
    Sampled,
    Started,
    StepDone,
)
from pivotal.formats.embedding_file import embedding_bytes
from pivotal.jobs import stretch
from pivotal.jobs.checks.plan import make_plan
from pivotal.jobs.control import Control
from pivotal.jobs.desk import work_through
from pivotal.models.generate import GenerateSettings, conditioning_for, generate, negative_for
from runs import QUICK, carry_out, fingerprint

pytestmark = pytest.mark.once

LORA = {"network.method": "lora", "network.rank": 2, "targets.learning_rate": 0.01}


class Run:
    """A run in a thread of its own, which `at` steps are done pauses by itself."""

    def __init__(self, host, folder, at=(), *, resume=False, when=lambda _event: False, **changes):
        self.events, self.control, self.at, self.when = [], Control(patient=False), set(at), when
        self.paused = threading.Semaphore(0)
        plan = make_plan(QUICK | {"dataset.folder": str(folder)} | changes, host, resume=resume)
        self.thread = threading.Thread(target=work_through, args=(plan, host, self.take, self.control), daemon=True)
        self.thread.start()

    def take(self, event):
        self.events.append(event)
        if (isinstance(event, StepDone) and event.step in self.at) or self.when(event):
            self.control.pause.set()
        if isinstance(event, (Paused, Finished, Failed)):
            self.paused.release()

    def wait(self):
        """For the next pause, or the end."""
        assert self.paused.acquire(timeout=300), self.events[-3:]
        return self.events[-1]

    def resume(self):
        self.control.pause.clear()
        return self.wait()

    def of(self, kind):
        return [event for event in self.events if isinstance(event, kind)]


def files(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for place in ("embeddings", "models")
            for path in sorted((folder / place).rglob("*")) if path.is_file()}


def theirs(vectors=1):
    """An embedding of the user's."""
    return embedding_bytes([torch.full((vectors, 32), 0.5)], {})


def draw(host, prompt):
    """As a prompt of the host is drawn, under its lock."""
    with host.lock:
        return generate(host.model, conditioning_for(host.model, prompt, {}), negative_for(host.model, "", {}),
                        GenerateSettings(width=64, height=64, steps=2, sampler="Euler a", cfg_scale=3.0, seed=5))[0].tobytes()


@pytest.mark.parametrize("changes", [
    {}, LORA | {"optimizer.ema_decay": 0.8, "cache.latents": "off", "measure.images": 2, "measure.every_steps": 2,
                "save.best": True},
    LORA | {"cache.latents": "disk", "batch.accumulation": 2, "optimizer.kind": "prodigy", "optimizer.learning_rate": 1.0,
            "targets.learning_rate": 1.0},
], ids=["embedding", "LoRA, average, measured", "LoRA, Prodigy, cache on disk"])
def test_a_run_that_is_paused_ends_as_one_that_was_not(tmp_path, monkeypatch, changes):
    sessions = weakref.WeakSet()
    make = stretch.make_session
    monkeypatch.setattr(stretch, "make_session", lambda *of_run: sessions.add(made := make(*of_run)) or made)
    images = write_dataset(tmp_path / "images")
    changes = changes | {"samples.every_steps": 4, "samples.steps": 1, "save.every_steps": 3}
    whole = Run(FakeHost(tmp_path / "whole"), images, **changes)
    assert isinstance(whole.wait(), Finished)
    host = FakeHost(tmp_path / "parts")
    drawn, before = draw(host, "a cat"), fingerprint(host)
    run = Run(host, images, at=(3, 5), **changes)
    for step in (3, 5):
        assert run.wait() == Paused(step)
        assert not sessions, "what is on the device is still held"
        assert fingerprint(host) == before and draw(host, "a cat") == drawn, "the model is not the host's own in a pause"
        assert not (tmp_path / "parts" / "embeddings" / "zkteal.safetensors").exists()
        run.control.pause.clear()
    assert isinstance(run.wait(), Finished)
    run.thread.join(300)
    assert files(tmp_path / "parts") == files(tmp_path / "whole")
    assert [event.step for event in run.of(StepDone)] == list(range(1, 9))
    counted = Counter(type(event) for event in run.events)
    assert (counted[Started], counted[Planned], counted[Resumed]) == (1, 1, 2)
    for kind in (Sampled, Measured):  # nothing is drawn or measured twice
        assert [event.step for event in run.of(kind)] == [event.step for event in whole.of(kind)]
    assert [event.loss for event in run.of(StepDone)] == [event.loss for event in whole.of(StepDone)]


def test_encoded_images_outlive_a_pause_and_one_while_they_are_encoded(tmp_path, monkeypatch):
    host, encoded = FakeHost(tmp_path), []
    vae = host.model.vae
    original = vae.encode
    monkeypatch.setattr(vae, "encode", lambda pixels, *a, **k: encoded.append(len(pixels)) or original(pixels, *a, **k))
    first = [True]
    run = Run(host, write_dataset(tmp_path / "images"), at=(4,), **{"measure.images": 0, "cache.batch": 1},
              when=lambda event: event == Phase("caching", 3, 6) and first and first.pop())
    assert run.wait() == Paused(0)
    assert sum(encoded) == 3
    assert run.resume() == Paused(4)
    assert sum(encoded) == 6
    assert isinstance(run.resume(), Finished) and sum(encoded) == 6
    assert [event.step for event in run.of(StepDone)] == list(range(1, 9)) and len(run.of(Started)) == 1


def test_a_paused_run_that_is_stopped_writes_what_it_had_learned(tmp_path):
    images = write_dataset(tmp_path / "images")
    carry_out(FakeHost(tmp_path / "a"), images, stop_after=4)
    run = Run(FakeHost(tmp_path / "b"), images, at=(4,))
    assert run.wait() == Paused(4)
    run.control.stop.set()
    end = run.wait()
    assert (end.step, end.stopped) == (4, True) and files(tmp_path / "a") == files(tmp_path / "b")
    assert [event.step for event in run.of(StepDone)] == [1, 2, 3, 4]


def test_a_paused_run_outlives_its_process(tmp_path):
    """What is on disk at a pause is what Resume by name takes."""
    images = write_dataset(tmp_path / "images")
    carry_out(FakeHost(tmp_path / "a"), images)
    run = Run(FakeHost(tmp_path / "b"), images, at=(4,))
    assert run.wait() == Paused(4)
    _, events = carry_out(FakeHost(tmp_path / "b"), images, resume=True)
    assert [event.step for event in events if isinstance(event, StepDone)] == [5, 6, 7, 8]
    assert files(tmp_path / "a") == files(tmp_path / "b")
    discard(run)


def test_resume_waits_for_the_checkpoint_of_the_run(tmp_path, monkeypatch):
    host = FakeHost(tmp_path)
    borrow, asked = host.borrow, []

    def picky(checkpoint):
        asked.append(checkpoint)
        if checkpoint:
            raise HostError("tiny is gone")
        return borrow(checkpoint)

    monkeypatch.setattr(host, "borrow", picky)
    run = Run(host, write_dataset(tmp_path / "images"), at=(4,))
    assert run.wait() == Paused(4)
    own = host.checkpoint
    monkeypatch.setattr(host, "checkpoint", lambda: None)
    assert run.resume() == Paused(4) and asked == ["", "tiny"]
    assert any(isinstance(event, Noticed) and "stays paused: tiny is gone" in event.text for event in run.events)
    monkeypatch.setattr(host, "checkpoint", own)
    assert isinstance(run.resume(), Finished)


def ask_to_discard(run):
    run.control.discard.set()
    run.control.stop.set()


def discard(run):
    ask_to_discard(run)
    return run.wait()


@pytest.mark.parametrize("paused", [True, False])
def test_a_discarded_run_leaves_the_folders_as_they_were(tmp_path, paused):
    images = write_dataset(tmp_path / "images")
    host = FakeHost(tmp_path)
    older = tmp_path / "embeddings" / "zkteal-000002.safetensors"
    older.write_bytes(theirs())
    (tmp_path / "embeddings" / "other.safetensors").write_bytes(theirs(2))
    before = files(tmp_path)
    run = Run(host, images, at=(5,), **LORA, **{"save.every_steps": 2, "samples.every_steps": 2, "samples.steps": 1,
                                                "save.bundle": False})
    assert run.wait() == Paused(5)
    scratch = host.folders().scratch / "runs" / "run"
    written = files(tmp_path)
    assert set(before) < set(written) and older.read_bytes() != theirs()
    assert (scratch / "state.safetensors").exists() and list((scratch / "samples").iterdir())
    if not paused:  # in the middle of its steps
        run.when = lambda event: isinstance(event, StepDone) and event.step == 7 and ask_to_discard(run)
        run.control.pause.clear()
        end = run.wait()
    else:
        end = discard(run)
    run.thread.join(300)
    assert (end.step, end.stopped, end.files) == (5 if paused else 7, True, ())
    assert files(tmp_path) == before
    assert not (scratch / "state.safetensors").exists() and not list((scratch / "samples").iterdir())
    assert not list((scratch / "replaced").iterdir()) and not (scratch / "written.json").exists()
    (told,) = run.of(Discarded)
    assert told.restored == (older,) and told.left == ()
    assert (scratch / "events.jsonl").exists() and (scratch / "run.yaml").exists()


def test_a_discarded_run_takes_back_what_it_wrote_before_it_was_resumed(tmp_path):
    images, host = write_dataset(tmp_path / "images"), FakeHost(tmp_path)
    result = tmp_path / "embeddings" / "zkteal.safetensors"
    result.write_bytes(theirs())
    carry_out(host, images, stop_after=3, save__every_steps=2)
    assert result.read_bytes() != theirs()
    run = Run(host, images, at=(5,), resume=True, **{"save.every_steps": 2})
    assert run.wait() == Paused(5)
    discard(run)
    assert files(tmp_path) == {"embeddings/zkteal.safetensors": theirs()}


def test_a_file_that_the_user_put_there_between_two_sessions_comes_back(tmp_path):
    images, host = write_dataset(tmp_path / "images"), FakeHost(tmp_path)
    result = tmp_path / "embeddings" / "zkteal.safetensors"
    carry_out(host, images, stop_after=3)
    result.write_bytes(theirs(2))
    carry_out(host, images, resume=True, stop_after=4)
    run = Run(host, images, at=(5,), resume=True)
    run.wait()
    discard(run)
    assert files(tmp_path) == {"embeddings/zkteal.safetensors": theirs(2)}


def test_discard_leaves_a_file_that_somebody_has_changed_since(tmp_path):
    run = Run(FakeHost(tmp_path), write_dataset(tmp_path / "images"), at=(5,), **{"save.every_steps": 2})
    run.wait()
    changed = tmp_path / "embeddings" / "zkteal-000002.safetensors"
    changed.write_bytes(b"edited")
    discard(run)
    assert files(tmp_path) == {"embeddings/zkteal-000002.safetensors": b"edited"}
    assert run.of(Discarded)[0].left == (changed,)
