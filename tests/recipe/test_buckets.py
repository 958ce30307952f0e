"""Whole runs on images of mixed sizes: buckets, mirroring, masks and every cache."""

from __future__ import annotations

import sys
import threading

import numpy as np
import pytest
from PIL import Image

from fake_host import FakeHost
from pivotal.errors import OptionError
from pivotal.events import Failed, Finished, Noticed, Phase, Planned, StepDone
from pivotal.formats.embedding_file import read_embedding
from pivotal.jobs.checks.plan import make_plan
from pivotal.jobs.control import Control
from pivotal.jobs.desk import work_through
from runs import QUICK, carry_out, fingerprint

pytestmark = pytest.mark.once

SIZES = [(64, 64), (128, 64), (96, 64), (64, 96), (150, 76), (70, 66)]  # width, height
MIXED = {"buckets__step": 8, "augment__flip": 0.5, "mask__source": "files"}


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    dice = np.random.default_rng(1)
    for number, (width, height) in enumerate(SIZES):
        levels = dice.integers(0, 60, (height, width, 3)) + np.array([20, 140, 140])
        Image.fromarray(levels.astype(np.uint8)).save(folder / f"{number}.png")
        (folder / f"{number}.txt").write_text("a zkteal picture", encoding="utf-8")
    mask = Image.new("L", SIZES[1], 0)
    mask.paste(255, (0, 0, 64, 64))
    mask.save(folder / "1-masklabel.png")
    return folder


class Counted(FakeHost):
    """Counts what its VAE encodes."""

    def __init__(self, data):
        super().__init__(data)
        self.encoded = 0
        encode = self.model.vae.encode

        def counting(pixels, *rest):
            self.encoded += len(pixels)
            return encode(pixels, *rest)

        self.model.vae.encode = counting


def result(host, events):
    assert isinstance(events[-1], Finished)
    vectors = read_embedding(host.folders().embeddings / "zkteal.safetensors", len(host.model.widths))
    return [tensor.tolist() for tensor in vectors]


def test_every_cache_gives_the_same_run_and_the_one_on_disk_is_found_again(tmp_path, images):
    found = {}
    for name, cache in (("memory", "memory"), ("disk", "disk"), ("disk", "disk"), ("off", "off")):
        host = Counted(tmp_path / name)
        before = fingerprint(host)
        outcome, events = carry_out(host, images, cache__latents=cache, measure__images=2, **MIXED)
        assert fingerprint(host) == before
        again = " again" if name in found else ""
        found[name + again] = (result(host, events), host.encoded, outcome.metrics)
        told = [event.text for event in events if isinstance(event, Noticed) and event.key == "cache.latents"]
        assert len(told) == (1 if cache == "disk" else 0)
    assert found["disk"][0] == found["memory"][0] == found["disk again"][0]
    # Each image as it is and mirrored; the second run finds them; without a cache each batch, and what is measured
    assert found["memory"][1] == found["disk"][1] == 12 and found["disk again"][1] == 0 and found["off"][1] >= 16
    errors = {name: metrics["error_after"] for name, (_, _, metrics) in found.items()}
    # Encoding two images at once rounds otherwise than one by one.
    assert errors["off"] == pytest.approx(errors["memory"], rel=1e-3) and errors["memory"] == errors["disk again"]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("pivotal-reading")]


def test_the_plan_tells_the_sizes_and_with_a_rate_of_zero_nothing_is_learned(tmp_path, images):
    plans, errors = [], []
    for rate in (0.02, 0.0):
        outcome, events = carry_out(FakeHost(tmp_path / str(rate)), images, optimizer__learning_rate=rate, measure__images=2,
                                    **MIXED)
        plans += [event for event in events if isinstance(event, Planned)]
        errors.append(outcome.metrics)
        assert len([event for event in events if isinstance(event, StepDone)]) == 8
    # 64 x 64 = 4096 px: of 64 px and 8 px steps are 88x40 (2.2), 80x48 (1.67), ..., 64x64; forms 2, 1.97 and 1.5
    assert plans[0] == plans[1]
    assert {bucket.size: bucket.images for bucket in plans[0].buckets} == {
        (64, 64): 2, (40, 88): 2, (48, 80): 1, (80, 48): 1}
    assert all(0 <= bucket.cropped < 0.15 for bucket in plans[0].buckets)
    assert errors[1]["error_after"] == errors[1]["error_before"] == errors[0]["error_before"]
    assert errors[0]["error_after"] != errors[0]["error_before"]


@pytest.mark.parametrize("changes", [
    {"cache__latents": "off", "augment__rotation": 10, "augment__random_crop": True, "augment__hue": 0.1},
    {"augment__brightness": 0.3, "augment__versions": 3, "dataset__resolution": "64, 96"},
    {"buckets__kind": "exact sizes", "buckets__incomplete": "fill", "cache__sampling": "once"}])
def test_a_stopped_and_resumed_run_ends_as_one_that_was_not(tmp_path, images, changes):
    whole = FakeHost(tmp_path / "whole")
    _, events = carry_out(whole, images, **MIXED | changes)
    parts = FakeHost(tmp_path / "parts")
    outcome, _ = carry_out(parts, images, stop_after=3, **MIXED | changes)
    assert outcome.stopped and outcome.step == 3
    _, later = carry_out(parts, images, resume=True, **MIXED | changes)
    assert result(parts, later) == result(whole, events)


def test_an_image_that_is_gone_in_the_middle_ends_the_run_with_its_name_and_what_was_learned_can_be_resumed(tmp_path, images):
    host = FakeHost(tmp_path)
    kept = {path: path.read_bytes() for path in images.glob("*.png")}
    changes = {"cache__latents": "off", "measure__images": 0, "length__steps": 14} | MIXED

    def lose(step):
        if step == 4:
            for path in kept:
                path.write_bytes(b"gone")

    host.change = lose
    outcome, events = carry_out(host, images, **changes)
    assert outcome is None and isinstance(events[-1], Failed) and "cannot be read" in events[-1].message
    done = [event.step for event in events if isinstance(event, StepDone)]
    assert 4 <= done[-1] <= 8  # what was read ahead is still used
    for path, content in kept.items():
        path.write_bytes(content)
    host.change = None
    _, later = carry_out(host, images, resume=True, **changes)
    assert [event.step for event in later if isinstance(event, StepDone)] == list(range(done[-1] + 1, 15))
    whole = FakeHost(tmp_path / "whole")
    _, unbroken = carry_out(whole, images, **changes)
    assert result(host, later) == result(whole, unbroken)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("pivotal-reading")]


def test_what_is_wrong_with_masks_faces_and_sizes_is_told_before_anything_is_loaded(tmp_path, images, monkeypatch):
    Image.new("L", (9, 99)).save(images / "0-masklabel.png")
    monkeypatch.setitem(sys.modules, "cv2", None)  # as if it were not installed
    with pytest.raises(OptionError) as error:
        make_plan(QUICK | {"dataset.folder": str(images), "mask.source": "files", "augment.faces": True, "buckets.step": 12,
                           "dataset.resolution": "64, 70"}, FakeHost(tmp_path))
    assert set(error.value.problems) == {"mask.source", "augment.faces", "buckets.step", "dataset.resolution"}


def test_a_run_is_stopped_while_images_are_encoded(tmp_path, images):
    host = Counted(tmp_path)
    seen = []

    def stop(event):
        seen.append(event)
        host.interrupted = host.encoded >= 3

    plan = make_plan(QUICK | {"dataset.folder": str(images)}, host)
    outcome = work_through(plan, host, stop, Control(patient=False))
    assert outcome.stopped and outcome.step == 0 and host.encoded == 3
    assert [event.done for event in seen if isinstance(event, Phase) and event.name == "caching"] == [0, 1, 2, 3]
