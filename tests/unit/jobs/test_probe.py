"""The probe leaves the host as it was, and what it says of a run's time is near what the run takes."""

import time
from pathlib import Path

import pytest
import torch

from fake_host import FakeHost, write_dataset
from pivotal.errors import HostError
from pivotal.jobs.checks.plan import make_plan
from pivotal.jobs.control import Control
from pivotal.jobs.dataset_plan import usual_resolution
from pivotal.jobs.desk import work_through
from pivotal.jobs.outlook.peak import Peak
from pivotal.jobs.outlook.probe import Probed, probe, speed_key
from pivotal.jobs.outlook.time_needed import times
from runs import QUICK, fingerprint

pytestmark = pytest.mark.once

LORA = {"network.method": "lora", "network.rank": 4}


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp("images"), 4)


def plan_of(host, folder, **changes):
    flat = QUICK | {"dataset.folder": str(folder), "measure.images": 2}
    return make_plan(flat | {k.replace("__", "."): v for k, v in changes.items()}, host)


@pytest.mark.parametrize("options", [{}, LORA, {"precision.gradient_checkpointing": True, "cache.latents": "disk"}])
def test_the_host_is_as_before_and_nothing_is_written(tmp_path, images, options):
    host = FakeHost(tmp_path / "host")
    plan = plan_of(host, images, samples__every_steps=4, measure__images=2, **options)
    before, files = fingerprint(host), sorted(path for path in tmp_path.rglob("*") if path.is_file())
    found = probe(plan, host)
    assert fingerprint(host) == before
    assert sorted(path for path in tmp_path.rglob("*") if path.is_file()) == files
    assert found.fits and found.side == 64 and found.drawn_side == 64
    assert all(value > 0 for value in (found.steps[0][1], found.encode, found.draw_step, found.error, found.prepare))


def test_each_span_of_pivotal_tuning_has_a_speed_of_its_own(tmp_path, images):
    host = FakeHost(tmp_path / "host")
    found = probe(plan_of(host, images, **LORA, pivot__order="embeddings first", pivot__at=0.25, length__steps=40), host)
    assert [first for first, _ in found.steps] == [0, 10]


def test_a_lack_of_memory_is_an_answer(tmp_path, images, monkeypatch):
    host = FakeHost(tmp_path / "host")

    def full(*_):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")

    monkeypatch.setattr("pivotal.training.session.Session.step", full)
    before = fingerprint(host)
    assert not probe(plan_of(host, images), host).fits
    assert fingerprint(host) == before


def test_the_hosts_own_interrupt_ends_it(tmp_path, images):
    host = FakeHost(tmp_path / "host")
    plan = plan_of(host, images)
    host.interrupted = True
    with pytest.raises(HostError, match="Interrupted"):
        probe(plan, host)


def test_the_time_of_a_run_is_the_sum_of_what_it_does(tmp_path, images):
    host = FakeHost(tmp_path / "host")
    plan = plan_of(host, images, length__steps=40, samples__every_steps=15, samples__steps=10, samples__prompts="a\nb",
                   measure__images=3, measure__every_steps=20, dataset__resolution="64, 128")
    probed = Probed(((0, 2.0),), encode=0.5, draw=1.0, draw_step=0.1, error=0.25, prepare=3.0, side=128, drawn_side=64, peak=None,
                    device="cpu")
    found = times(plan, probed, usual_resolution(plan.config, host))
    # Half of the images have a quarter of the area: 2 s x (1 + 1/4) / 2 a step; drawn at 0, 15, 30 and 40.
    assert found.step == pytest.approx(1.25) and found.training == pytest.approx(50)
    assert found.preparing == pytest.approx(3 + 0.5 * 4 * 1.25)
    assert found.sampling == pytest.approx(4 * 2 * (1 + 0.1 * 10))
    assert found.measuring == pytest.approx(3 * 3 * 0.25)  # before, and after 20 and 40


def test_only_what_changes_a_step_is_measured_anew(tmp_path, images):
    host = FakeHost(tmp_path / "host")
    plain = speed_key(plan_of(host, images).config)
    assert speed_key(plan_of(host, images, name="other", length__steps=900, samples__every_steps=3).config) == plain
    assert speed_key(plan_of(host, images, batch__size=1).config) != plain


def test_the_peak_is_what_was_held_beyond_before():
    with Peak(torch.device("cpu")) as peak:
        held = torch.ones(64 * 2**20 // 4)
    if Path("/proc/self/statm").exists():
        assert held.numel() * 4 * 0.9 < peak.bytes < held.numel() * 4 * 2
    else:
        assert peak.bytes is None


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, LORA, LORA | {"targets.text_encoder_1": True}])
def test_the_run_takes_as_long_as_was_said(tmp_path, images, options, monkeypatch):
    """In seconds of the processor, for what else the machine does is in those of the wall."""
    monkeypatch.setattr(time, "perf_counter", time.process_time)
    host = FakeHost(tmp_path / "host")
    plan = plan_of(host, images, **options, length__steps=120, samples__every_steps=40, samples__steps=8)
    told = times(plan, probe(plan, host), usual_resolution(plan.config, host))
    started = time.process_time()
    assert work_through(plan, host, lambda _event: None, Control(patient=False)) is not None
    took = time.process_time() - started
    print(f"{options}: said {told.total:.2f} s, took {took:.2f} s, {told.total / took - 1:+.0%}")
    assert told.total == pytest.approx(took, rel=0.2)
