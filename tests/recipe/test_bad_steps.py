"""Steps whose numbers are not finite: what is told, what is left out or tried again, and that nothing else is changed."""

from __future__ import annotations

import re
from types import SimpleNamespace

import pytest
import torch
from pytorch_optimizer import Lion

from fake_host import FakeHost, write_dataset
from pivotal.events import Failed, Finished, Noticed, StepDone
from pivotal.formats.state_file import read_state
from pivotal.jobs.batches import DatasetBatches
from pivotal.training import batch_loss
from pivotal.training.bad_step import BadStep
from pivotal.training.ranks import Alone
from pivotal.training.session import Session
from runs import carry_out, fingerprint

pytestmark = pytest.mark.once

BAD = 6  # images before the bad step, the fourth
SHORT = {"measure__images": 0, "length__steps": 6, "network__method": "lora", "network__rank": 2, "targets__learning_rate": 1e-3}


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp("bad") / "images")


def told(events):
    return [event.text for event in events if isinstance(event, Noticed) and event.key == "guard.bad_step"]


def results(folder):
    return (folder / "models" / "Lora" / "run.safetensors").read_bytes()


def spoil_latents(monkeypatch):
    """The fourth step's batch, each time it is asked for."""
    real = DatasetBatches.at

    def at(self, position):
        batch = real(self, position)
        if position == BAD:
            batch.latents[1] = torch.nan
        return batch

    monkeypatch.setattr(DatasetBatches, "at", at)


def spoil_gradient(monkeypatch, factor):
    """Of the fourth loss."""
    real, calls = batch_loss.losses, []

    def losses(predicted, *rest):
        calls.append(1)
        if len(calls) == 4:
            predicted.register_hook(lambda gradient: gradient * factor)
        return real(predicted, *rest)

    monkeypatch.setattr(batch_loss, "losses", losses)


def spoil_update(monkeypatch):
    """The fourth update leaves an infinite weight, from finite gradients."""
    real, calls = Lion.step, []

    def step(self, *rest, **named):
        real(self, *rest, **named)
        calls.append(1)
        if len(calls) == 8:  # each part has an optimizer of its own
            with torch.no_grad():
                self.param_groups[-1]["params"][0].view(-1)[0] = torch.inf

    monkeypatch.setattr(Lion, "step", step)


def test_a_bad_step_is_left_out_told_and_the_same_after_a_stop(tmp_path, images, monkeypatch):
    carry_out(FakeHost(tmp_path / "three"), images, **SHORT, stop_after=3)
    spoil_latents(monkeypatch)
    host = FakeHost(tmp_path / "whole")
    before = fingerprint(host)
    _, events = carry_out(host, images, **SHORT)
    (text,) = told(events)
    assert text.startswith("Step 4 is left out: the loss became nan: the latents") and ".png at timestep" in text
    assert text.count(".png") == 1  # the other image of the batch is not to blame
    assert [event.step for event in events if isinstance(event, StepDone)] == [1, 2, 3, 4, 5, 6]
    assert isinstance(events[-1], Finished) and fingerprint(host) == before
    four = FakeHost(tmp_path / "four")
    carry_out(four, images, **SHORT, stop_after=4)
    states = [read_state(tmp_path / name / "pivotal/runs/run/state.safetensors") for name in ("three", "four")]
    same = [key for key in states[0].tensors if key.startswith(("trained.", "optimizer."))]
    assert len(same) > 10 and all(torch.equal(states[0].tensors[key], states[1].tensors[key]) for key in same)
    assert states[1].facts["guard"] == {"in_a_row": 1, "in_all": 1, "precise": False, "left_out": []}
    carry_out(four, images, **SHORT, resume=True)
    assert results(tmp_path / "whole") == results(tmp_path / "four")


@pytest.mark.parametrize("factor", [torch.inf, 1e30])
def test_gradients_that_an_optimizer_cannot_square_are_left_out_with_their_images(tmp_path, images, monkeypatch, factor):
    spoil_gradient(monkeypatch, factor)
    _, events = carry_out(FakeHost(tmp_path), images, **SHORT)
    (text,) = told(events)
    assert "Step 4 is left out: the gradient of zkteal and unet became infinite or larger than 1e+15, by " in text
    assert text.count(".png at ") == 2 and text.endswith(", computed in fp32.") and isinstance(events[-1], Finished)


def test_an_update_that_spoils_weights_is_taken_back(tmp_path, images, monkeypatch):
    """It ends as the run does whose fourth gradient was bad: both learned the other five steps and nothing else."""
    with monkeypatch.context() as patch:
        spoil_gradient(patch, torch.inf)
        carry_out(FakeHost(tmp_path / "left out"), images, **SHORT, optimizer__kind="lion")
    spoil_update(monkeypatch)
    _, events = carry_out(FakeHost(tmp_path / "taken back"), images, **SHORT, optimizer__kind="lion")
    (text,) = told(events)
    assert "the optimizer made weights of unet infinite" in text and "goes back to step 0" in text
    assert [event.step for event in events if isinstance(event, StepDone)] == [1, 2, 3, 1, 2, 3, 4, 5, 6]
    assert results(tmp_path / "left out") == results(tmp_path / "taken back")


def test_weights_that_are_spoiled_are_never_written(tmp_path, images, monkeypatch):
    """With `stop` there is no copy to go back to: the run ends, and the state and the files of before stay."""
    host = FakeHost(tmp_path)
    options = SHORT | {"guard__bad_step": "stop", "optimizer__kind": "lion", "length__steps": 20}
    carry_out(host, images, **options, stop_after=3)
    state = tmp_path / "pivotal/runs/run/state.safetensors"
    before = state.read_bytes(), results(tmp_path)
    spoil_update(monkeypatch)
    outcome, events = carry_out(host, images, **options, resume=True)
    assert outcome is None and isinstance(events[-1], Failed) and "Step 7: the optimizer made weights" in events[-1].message
    assert (state.read_bytes(), results(tmp_path)) == before


@pytest.mark.parametrize("weights", [torch.float32, torch.bfloat16])
def test_what_bf16_breaks_is_tried_again_in_fp32(tmp_path, images, monkeypatch, weights):
    """Also where the host's own weights are bf16, which it gets back as they were."""
    host = FakeHost(tmp_path / "whole", dtype=weights)
    real, bad = DatasetBatches.at, []

    def overflow(module, inputs, output):
        narrow = bad and (output[0].dtype == torch.bfloat16 or module.conv_in.weight.dtype == torch.bfloat16)
        return (output[0] * torch.nan,) if narrow else output

    def at(self, position):
        bad[:] = [1] if position == BAD else []
        return real(self, position)

    monkeypatch.setattr(DatasetBatches, "at", at)
    host.model.unet.register_forward_hook(overflow)
    before = fingerprint(host)
    options = SHORT | {"guard__bad_step": "precise", "precision__compute": "bf16"}
    _, events = carry_out(host, images, **options)
    (text,) = told(events)
    assert "the UNet's answer in bf16 for" in text and text.endswith("It is tried again in fp32, in which the run goes on.")
    assert isinstance(events[-1], Finished) and fingerprint(host) == before
    parts = FakeHost(tmp_path / "parts", dtype=weights)
    parts.model.unet.register_forward_hook(overflow)
    carry_out(parts, images, **options, stop_after=5)
    _, events = carry_out(parts, images, **options, resume=True)
    assert not told(events) and results(tmp_path / "whole") == results(tmp_path / "parts")


@pytest.mark.parametrize(("limits", "words"), [
    ({"guard__in_a_row": 2}, "Step 2: .* bad step 2 in a row"), ({"guard__in_all": 3}, "Step 3: .* bad step 3 of the run")])
def test_too_many_bad_steps_end_the_run(tmp_path, images, monkeypatch, limits, words):
    monkeypatch.setattr(batch_loss, "losses", lambda predicted, *_: predicted.square() * torch.inf)
    outcome, events = carry_out(FakeHost(tmp_path), images, **SHORT, **limits)
    assert outcome is None and isinstance(events[-1], Failed)
    assert re.search(words, events[-1].message)


def test_the_first_process_names_the_image_that_another_one_had():
    class First(Alone):
        count = 2

        def join(self, parameters, values):
            return [torch.nan, *values[1:]]

        def exchange(self, mine):
            return [mine, b"the loss became nan: the latents for b.png at timestep 7"]

    session = SimpleNamespace(ranks=First(), settings=SimpleNamespace(accumulation=2), batches=SimpleNamespace(size=1))
    with pytest.raises(BadStep, match=r"^the loss became nan: the latents for b.png at timestep 7$"):
        Session._gathered(session, (), {})
