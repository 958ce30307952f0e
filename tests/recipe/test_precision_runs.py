"""Whole runs with weights in bf16, averages on the CPU, and other kernels of attention."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file

from fake_host import FakeHost, write_dataset
from pivotal.errors import OptionError
from pivotal.events import Finished, StepDone
from pivotal.formats.network_file import read_network
from pivotal.jobs import trainees
from pivotal.training import precision
from runs import carry_out, fingerprint

pytestmark = pytest.mark.once

NETWORK = {"network__method": "lora", "network__rank": 4, "network__alpha": 4, "targets__learning_rate": 1e-3,
           "measure__images": 4}


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp("precision") / "images")


def noted_networks(monkeypatch):
    made, real = [], trainees.make_networks
    monkeypatch.setattr(trainees, "make_networks", lambda *given: made.extend(real(*given)) or tuple(made))
    return made


@pytest.mark.parametrize(("method", "rate"), [("lora", 0.01), ("dylora", 3e-3), ("full", 1e-3)])
def test_networks_in_bf16_learn_beside_embeddings_in_fp32(tmp_path, images, monkeypatch, method, rate):
    made, host = noted_networks(monkeypatch), FakeHost(tmp_path)
    before = fingerprint(host)
    options = NETWORK | {"network__method": method, "targets__learning_rate": rate, "precision__weights": "bf16",
                         "length__steps": 10, "network__conv_rank": 4}
    outcome, events = carry_out(host, images, alone=True, **options)
    assert isinstance(events[-1], Finished) and fingerprint(host) == before
    assert outcome.metrics["error_after"] < 0.98 * outcome.metrics["error_before"]
    factors = [factor for network in made for adapter in network.adapters.values() for factor in adapter.factors()]
    assert factors and all(factor.dtype == torch.bfloat16 for factor in factors)
    made.clear()
    carry_out(FakeHost(tmp_path / "both"), images, **options | {"length__steps": 2})
    state = load_file(tmp_path / "both/pivotal/runs/run/state.safetensors")
    formats = {key.split(".")[1]: tensor.dtype for key, tensor in state.items() if key.startswith("trained.")}
    assert formats == {"0": torch.float32, "1": torch.bfloat16}
    assert {tensor.dtype for key, tensor in state.items() if "exp_avg" in key} == {torch.float32}


def test_on_a_processor_with_bf16_a_large_unet_learns_the_same_in_it(tmp_path, images, monkeypatch):
    """The tiny one counts as large here; both parts learn, over fp32 text encoders."""
    losses = {}
    for name, gains in (("fp32", False), ("bf16", True)):
        monkeypatch.setattr(precision, "gains_by_bf16", lambda *_, gains=gains: gains)
        host = FakeHost(tmp_path / name)
        before = fingerprint(host)
        outcome, events = carry_out(host, images, **NETWORK | {"targets__learning_rate": 0.01, "length__steps": 10})
        assert isinstance(events[-1], Finished) and fingerprint(host) == before
        assert outcome.metrics["error_after"] < 0.98 * outcome.metrics["error_before"]
        losses[name] = torch.tensor([event.loss for event in events if isinstance(event, StepDone)])
    assert not torch.equal(losses["fp32"], losses["bf16"])
    torch.testing.assert_close(losses["fp32"], losses["bf16"], rtol=0.02, atol=0)


def test_updates_too_small_for_bf16_are_not_lost(tmp_path, images):
    """Five steps of 2e-5 on values near .1: half of bf16's spacing there is 1e-4 and more."""
    found = {}
    for name, options in {"bf16": {"precision__weights": "bf16"}, "fp32": {}, "still": {"targets__learning_rate": 0.0}}.items():
        carry_out(FakeHost(tmp_path / name), images, alone=True, **NETWORK | {
            "targets__learning_rate": 2e-5, "measure__images": 0, "length__steps": 5, "save__precision": "fp32"} | options)
        layers = read_network(tmp_path / name / "models/Lora/run.safetensors").layers
        found[name] = torch.cat([parts["lora_down.weight"].flatten() for parts in layers.values()])
    moved = {name: (found[name] - found["still"]) for name in ("bf16", "fp32")}
    plain = found["fp32"].bfloat16() - found["still"].bfloat16()
    assert (plain != 0).float().mean() < 0.5  # to the nearest, most would not have moved
    # Along the way that fp32 went, the rounded values have gone as far, on average over thousands of them.
    way = moved["fp32"].double()
    assert 0.8 < (moved["bf16"].double() @ way) / (way @ way) < 1.2


@pytest.mark.parametrize("changes", [
    {"network__method": "oft"}, {"network__method": "lokr"}, {"network__dora": True},
    {"optimizer__kind": "schedule-free adamw"}])
def test_what_needs_fp32_says_so(tmp_path, images, changes):
    with pytest.raises(OptionError) as error:
        carry_out(FakeHost(tmp_path), images, alone=True, **NETWORK | {"precision__weights": "bf16"} | changes)
    assert "choose fp32" in error.value.problems["precision.weights"]


def test_where_averages_lie_and_how_attention_is_computed_change_little_or_nothing(tmp_path, images):
    found = {}
    for name, options in {"device": {}, "cpu": {"performance__averages_on_cpu": True},
                          "math": {"performance__attention": "math"}}.items():
        host = FakeHost(tmp_path / name)
        before = fingerprint(host)
        carry_out(host, images, **NETWORK | {"optimizer__ema_decay": 0.9, "save__precision": "fp32"} | options)
        assert fingerprint(host) == before
        layers = read_network(tmp_path / name / "models/Lora/run.safetensors").layers
        found[name] = torch.cat([parts["lora_down.weight"].flatten() for parts in layers.values()])
    assert torch.equal(found["cpu"], found["device"])
    torch.testing.assert_close(found["math"], found["device"], rtol=1e-3, atol=1e-3)
