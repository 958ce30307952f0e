"""No room on the device: wherever it happens, the host gets its model back, and what would need less is said."""

from __future__ import annotations

import functools
import gc
import weakref

import pytest
import torch

from fake_host import FakeHost, write_dataset
from pivotal.config.build import build
from pivotal.config.train import TrainConfig
from pivotal.events import Failed, Finished, Noticed, Sampled, StepDone
from pivotal.formats.embedding_file import read_embedding
from pivotal.jobs.memory import is_out_of_memory, remedies
from pivotal.models.diffusion import DiffusionModel
from pivotal.training.text_cache import TextCache
from runs import carry_out, fingerprint

pytestmark = pytest.mark.once

WORDS = "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of ..."
SHORT = {"measure__images": 0, "length__steps": 4}


def once(real, at, error=None):
    """`real`, which finds no room at its call `at`."""
    calls = []

    @functools.wraps(real)
    def tried(*values, **named):
        calls.append(1)
        if len(calls) == at:
            raise error or torch.cuda.OutOfMemoryError(WORDS)
        return real(*values, **named)

    return tried


@pytest.fixture
def images(tmp_path):
    return write_dataset(tmp_path / "images")


@pytest.mark.parametrize(("place", "at"), [
    ((DiffusionModel, "encode_images"), 3),  # encoding the dataset
    ((DiffusionModel, "predict"), 3),  # a step
    ((torch.optim.AdamW, "step"), 2)])  # an update
def test_the_run_ends_with_remedies_and_the_host_as_it_was(tmp_path, images, monkeypatch, place, at):
    host, emptied = FakeHost(tmp_path), []
    before = fingerprint(host)
    monkeypatch.setattr(*place, once(getattr(*place), at))
    monkeypatch.setattr("pivotal.jobs.memory.empty_device", lambda: emptied.append(host.inside))
    outcome, events = carry_out(host, images, **SHORT)
    assert outcome is None
    failed = events[-1]
    assert isinstance(failed, Failed) and failed.message.startswith("The device ran out of memory (CUDA out of memory. Tried")
    assert failed.remedies == {"precision.gradient_checkpointing": True, "batch.size": 1, "batch.accumulation": 2}
    assert set(failed.problems) == set(failed.remedies)
    assert failed.problems["batch.size"] == "is 2; 1 needs less memory, and is slower"
    assert emptied == [False]  # after the model was given back
    assert fingerprint(host) == before and not host.inside


def test_the_remedies_make_a_run_that_goes_on_where_it_was(tmp_path, images, monkeypatch):
    """Computing twice changes nothing of what is learned: the file is that of a run that had room."""
    host = FakeHost(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(DiffusionModel, "predict", once(DiffusionModel.predict, 3))
        _, events = carry_out(host, images, **SHORT)
    assert [event.step for event in events if isinstance(event, StepDone)] == [1, 2]
    _, events = carry_out(host, images, **SHORT, resume=True, precision__gradient_checkpointing=True)
    assert [event.step for event in events if isinstance(event, StepDone)] == [3, 4]
    carry_out(FakeHost(tmp_path / "whole"), images, **SHORT)
    ours, whole = (read_embedding(folder / "embeddings/zkteal.safetensors", 1) for folder in (tmp_path, tmp_path / "whole"))
    assert torch.equal(ours[0], whole[0])


def test_an_update_that_was_broken_off_leaves_no_state(tmp_path, images, monkeypatch):
    monkeypatch.setattr(torch.optim.AdamW, "step", once(torch.optim.AdamW.step, 2))
    carry_out(FakeHost(tmp_path), images, **SHORT)
    assert not (tmp_path / "pivotal/runs/run/state.safetensors").exists()


def test_a_sample_without_room_is_left_out_and_the_run_goes_on(tmp_path, images, monkeypatch):
    from pivotal.jobs import previews

    monkeypatch.setattr(previews, "generate", once(previews.generate, 2))
    options = SHORT | {"samples__every_steps": 2, "samples__steps": 1, "samples__prompts": ["zkteal"]}
    _, events = carry_out(FakeHost(tmp_path), images, **options)
    assert [event.step for event in events if isinstance(event, Sampled)] == [0, 4]
    (text,) = [event.text for event in events if isinstance(event, Noticed) and event.key == "samples.size"]
    assert text.startswith("Step 2: no more samples are drawn") and "64 x 64 px" in text
    assert isinstance(events[-1], Finished)


def test_nothing_of_the_run_stays_in_memory(tmp_path, images, monkeypatch):
    """The error's places in the code hold the model's tensors as long as it is known to anybody."""
    kept = []
    real = TextCache.__init__

    def noted(self, *values, **named):
        real(self, *values, **named)
        kept.append(weakref.ref(self))

    monkeypatch.setattr(TextCache, "__init__", noted)
    error = torch.cuda.OutOfMemoryError("no room")
    monkeypatch.setattr(DiffusionModel, "predict", once(DiffusionModel.predict, 2, error))
    carry_out(FakeHost(tmp_path), images, **SHORT, alone=True, network__method="lora", network__rank=2)
    gc.collect()
    assert kept and all(ref() is None for ref in kept)
    assert error.__traceback__ is not None  # it is still known here


@pytest.mark.parametrize(("error", "expected"), [
    (torch.cuda.OutOfMemoryError(WORDS), True), (MemoryError(), True),
    (RuntimeError("MPS backend out of memory (MPS allocated: 9 GB)"), True),
    (RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory: you tried to ..."), True),
    (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), True), (RuntimeError("CUBLAS_STATUS_ALLOC_FAILED"), True),
    (RuntimeError("CUDA error: out of memory"), True),  # AcceleratorError, from torch 2.8 on
    (RuntimeError("CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`"), True),
    (RuntimeError("GET was unable to find an engine to execute this computation"), True),
    (torch.cuda.OutOfMemoryError("HIP out of memory. Tried to allocate 2.00 GiB."), True),
    (RuntimeError("Invalid buffer size: 8.21 GB"), True),  # Apple's
    (RuntimeError("Could not allocate tensor with 16 bytes. There is not enough GPU video memory available!"), True),  # DirectML
    (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False), (ValueError("out of memory"), False)])
def test_what_counts_as_no_room(error, expected):
    assert is_out_of_memory(error) == expected


def test_every_remedy_builds_and_needs_less(monkeypatch):
    """Applied one after another until none is left, which ends: at one image of 256 px."""
    monkeypatch.setattr("pivotal.jobs.memory._has_8_bit", lambda: True)
    flat = {"dataset.folder": "images", "embeddings.0.placeholder": "zkteal", "network.method": "lora", "batch.size": 12,
            "batch.accumulation": 2, "optimizer.ema_decay": 0.9, "performance.attention": "math", "cache.batch": 4,
            "dataset.resolution": "1024x768, 512"}
    seen = []
    for _ in range(20):
        found = list(remedies(build(TrainConfig, flat), 512))
        if not found:
            break
        seen.append({remedy.key: remedy.value for remedy in found})
        flat |= seen[-1]
        assert flat["batch.size"] * flat["batch.accumulation"] == 24  # an update sees as many images
    assert len(seen) > 3 and not found
    assert [each["dataset.resolution"] for each in seen if "dataset.resolution" in each] == ["768", "576", "384", "256"]
    assert seen[0]["optimizer.kind"] == "adamw 8-bit" and flat["batch.size"] == 1
