"""DoRA against the formula on whole weights."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.func import functional_call

from pivotal.errors import FormatError
from pivotal.networks.dora import low_rank_lengths
from pivotal.networks.loha import LoHa
from pivotal.networks.lokr import LoKr
from pivotal.networks.lora import Lora
from pivotal.networks.settings import LayerSettings

LAYERS = {"linear": lambda: nn.Linear(12, 20), "convolution": lambda: nn.Conv2d(12, 20, 3, padding=1)}
INPUTS = {"linear": (3, 7, 12), "convolution": (3, 12, 6, 6)}
every = pytest.mark.parametrize(("method", "kind"), [(m, kind) for m in (Lora, LoHa, LoKr) for kind in LAYERS])


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def trained(method, layer, dora=True):
    adapter = method(layer.requires_grad_(False), LayerSettings(3, 1.5, dora=dora), seeded())
    with torch.no_grad():
        for place, parameter in enumerate(adapter.parameters()):
            parameter.add_(torch.randn(parameter.shape, generator=seeded(place)) * 0.2)
    return adapter


def columns(weight):
    """Length of each input's column, over outputs and kernel, in a shape that divides the weight."""
    dims = [dim for dim in range(weight.dim()) if dim != 1]
    return torch.linalg.vector_norm(weight, dim=dims, keepdim=True)


@every
def test_lengths_start_as_the_columns_own(method, kind):
    layer = LAYERS[kind]()
    parts = method(layer, LayerSettings(3, 1.5, dora=True), seeded()).tensors()
    torch.testing.assert_close(parts["dora_scale"], columns(layer.weight.detach()))
    assert parts["dora_scale"].shape == (1, 12, *[1] * (layer.weight.dim() - 2))


@every
def test_output_and_gradients_are_those_of_the_rescaled_weight(method, kind):
    """m (W + D) / |W + D|, the length being a constant for the gradient (arXiv:2402.09353, eq. 5 and 4.3)."""
    layer = LAYERS[kind]()
    adapter = trained(method, layer)
    x = torch.randn(INPUTS[kind], generator=seeded(4)).requires_grad_()
    target = torch.randn(layer(x).shape, generator=seeded(5))
    found = adapter(x)
    (found - target).square().sum().backward()
    grads = {name: parameter.grad.clone() for name, parameter in adapter.named_parameters()}
    to_x = x.grad.clone()
    adapter.zero_grad()
    x.grad = None

    sums = layer.weight + adapter.delta()
    lengths = adapter.lengths.view(1, 12, *[1] * (layer.weight.dim() - 2))
    expected = functional_call(layer, {"weight": sums * lengths / columns(sums).detach()}, (x,))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    (expected - target).square().sum().backward()
    torch.testing.assert_close(to_x, x.grad, rtol=1e-3, atol=1e-3)
    for name, parameter in adapter.named_parameters():
        torch.testing.assert_close(grads[name], parameter.grad, rtol=1e-3, atol=2e-3, msg=name)


@pytest.mark.parametrize("kind", LAYERS)
def test_lengths_are_those_of_the_sum_and_not_rounded_by_autocast(kind):
    adapter = trained(Lora, LAYERS[kind]())
    weight, up = adapter.layer.weight, adapter.up.flatten(1) * 0.5
    squares = columns(weight).flatten().square()
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        found = low_rank_lengths(weight, adapter.down, up, squares)
    torch.testing.assert_close(found, columns(weight + adapter.delta()).flatten(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("method", [Lora, LoHa, LoKr])
def test_a_file_without_lengths_keeps_its_change(method):
    layer = nn.Linear(12, 20)
    plain = trained(method, layer, dora=False)
    adapter = method(layer, LayerSettings(3, 1.5, dora=True), seeded(8))
    adapter.load(plain.tensors())
    x = torch.randn(4, 12)
    torch.testing.assert_close(adapter(x), plain(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("method", [Lora, LoHa, LoKr])
def test_lengths_per_output_are_refused(method):
    square = nn.Linear(12, 12)
    adapter = trained(method, square)
    parts = adapter.tensors()
    parts["dora_scale"] = parts["dora_scale"].reshape(12, 1)
    with pytest.raises(FormatError, match=r"\(12, 1\), expected \(1, 12\).*wd_on_output"):
        adapter.load(parts)


@pytest.mark.parametrize("method", [Lora, LoHa, LoKr])
def test_lengths_without_a_place_are_refused(method):
    layer = nn.Linear(12, 20)
    with pytest.raises(FormatError, match="switch DoRA on"):
        trained(method, layer, dora=False).load(trained(method, layer).tensors())


def test_a_weight_stored_in_fp8_is_measured():
    layer = nn.Linear(12, 20).to(torch.float8_e4m3fn).requires_grad_(False)
    adapter = Lora(layer, LayerSettings(3, 1.5, dora=True), seeded())
    torch.testing.assert_close(adapter.lengths.detach(), layer.weight.float().norm(dim=0))
    x = torch.randn(4, 12, dtype=torch.bfloat16)
    assert adapter.change(x, torch.zeros(4, 20, dtype=torch.bfloat16)).eq(0).all()
