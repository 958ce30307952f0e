"""IA3, GLoRA, whole differences and norms."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from pivotal.errors import FormatError
from pivotal.networks.full import Full
from pivotal.networks.glora import GLora
from pivotal.networks.ia3 import Ia3
from pivotal.networks.norm import Norm
from pivotal.networks.settings import LayerSettings


def trained(method, layer, **options):
    generator = torch.Generator().manual_seed(0)
    adapter = method(layer.requires_grad_(False), LayerSettings(**{"rank": 3, "alpha": 1.5} | options), generator)
    with torch.no_grad():
        for parameter in adapter.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return adapter


def test_ia3_scales_outputs_and_leaves_the_bias():
    layer = nn.Linear(5, 7)
    adapter, x = trained(Ia3, layer), torch.randn(3, 5)
    torch.testing.assert_close(adapter(x), (x @ layer.weight.t()) * (1 + adapter.weight) + layer.bias)
    parts = adapter.tensors()
    assert parts["weight"].shape == (7, 1) and not parts["on_input"]


@pytest.mark.parametrize(("layer", "shape"), [(nn.Linear(20, 5), (1, 20)), (nn.Conv2d(6, 5, 3), (1, 6, 1, 1))], ids=str)
def test_ia3_scales_the_inputs_of_a_second_feed_forward_layer_and_of_convolutions(layer, shape):
    adapter, x = trained(Ia3, layer), torch.randn((3, 20) if isinstance(layer, nn.Linear) else (3, 6, 5, 5))
    factors = (1 + adapter.weight).view(1, -1, *[1] * (x.dim() - 2))
    torch.testing.assert_close(adapter(x), layer(x * factors), rtol=1e-4, atol=1e-5)
    parts = adapter.tensors()
    assert parts["weight"].shape == shape and parts["on_input"]


def test_ia3_refuses_factors_of_the_other_side():
    square = nn.Linear(5, 5)
    parts = trained(Ia3, square).tensors() | {"on_input": torch.tensor(True)}
    with pytest.raises(FormatError, match="factors of the outputs"):
        trained(Ia3, square).load(parts)


def test_glora_adds_a_multiple_of_the_weight_and_a_change():
    layer = nn.Linear(5, 7)
    adapter, x = trained(GLora, layer), torch.randn(3, 5)
    a, b = adapter.a2 @ adapter.a1, adapter.b2 @ adapter.b1
    torch.testing.assert_close(adapter(x), functional.linear(x, layer.weight + 0.5 * (layer.weight @ a + b), layer.bias))


def test_glora_needs_no_alpha_to_be_read():
    """A1111 overlooks it, others divide it by the rank: to both the scale is 1."""
    layer = nn.Linear(5, 7)
    adapter = trained(GLora, layer)
    parts = adapter.tensors()
    assert parts["alpha"] == len(parts["a1.weight"]) == 3
    delta = layer.weight @ parts["a2.weight"] @ parts["a1.weight"] + parts["b2.weight"] @ parts["b1.weight"]
    torch.testing.assert_close(delta, adapter.delta())


def test_full_learns_weight_and_bias_of_a_convolution():
    layer = nn.Conv2d(3, 5, 3, stride=2)
    adapter, x = trained(Full, layer), torch.randn(2, 3, 9, 9)
    expected = functional.conv2d(x, layer.weight + adapter.weight, layer.bias + adapter.bias, stride=2)
    torch.testing.assert_close(adapter(x), expected, rtol=1e-4, atol=1e-5)
    assert set(adapter.tensors()) == {"diff", "diff_b"}


def test_full_leaves_a_bias_that_nobody_reads():
    assert set(trained(Full, nn.Linear(5, 7), train_bias=False).tensors()) == {"diff"}
    assert set(trained(Full, nn.Linear(5, 7, bias=False)).tensors()) == {"diff"}


@pytest.mark.parametrize("layer", [nn.LayerNorm(8), nn.GroupNorm(2, 8, eps=1e-3)], ids=str)
def test_norms_learn_weight_and_bias(layer):
    adapter, x = trained(Norm, layer), torch.randn(3, 8) * 3 + 1
    changed = nn.LayerNorm(8) if isinstance(layer, nn.LayerNorm) else nn.GroupNorm(2, 8, eps=1e-3)
    changed.load_state_dict({"weight": layer.weight + adapter.weight, "bias": layer.bias + adapter.bias})
    torch.testing.assert_close(adapter(x), changed(x))


@pytest.mark.parametrize("method", [Ia3, GLora, Full])
def test_the_norm_of_a_change_is_limited(method):
    adapter = trained(method, nn.Linear(30, 20))
    before = adapter.delta().detach().clone()
    adapter.limit_norm(0.5)
    torch.testing.assert_close(adapter.delta(), before * 0.5 / before.norm())
