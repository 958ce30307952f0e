"""OFT and BOFT turn a weight and keep its angles; files hold what hosts read."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from pivotal.networks.boft import Boft
from pivotal.networks.oft import Oft
from pivotal.networks.settings import LayerSettings
from plain_networks import changed_weight

both = pytest.mark.parametrize("method", [Oft, Boft])


def trained(method, layer, deviation=0.5, **options):
    generator = torch.Generator().manual_seed(0)
    adapter = method(layer.requires_grad_(False), LayerSettings(**{"rank": 4, "alpha": 1.0} | options), generator)
    with torch.no_grad():
        adapter.blocks.normal_(0, deviation, generator=generator)
    return adapter


@both
def test_lengths_and_angles_between_inputs_stay(method):
    layer = nn.Linear(10, 24)
    weight = layer.weight + trained(method, layer).delta()
    torch.testing.assert_close(weight.t() @ weight, layer.weight.t() @ layer.weight, rtol=1e-4, atol=1e-5)
    assert (weight - layer.weight).norm() > 0.5 * layer.weight.norm()


@both
@pytest.mark.parametrize("layer", [nn.Linear(10, 24), nn.Linear(10, 24, bias=False), nn.Conv2d(5, 24, 3, padding=1)], ids=str)
def test_the_output_is_that_of_the_turned_weight_as_hosts_have_it(method, layer):
    adapter = trained(method, layer)
    x = torch.randn((2, 3, 10) if isinstance(layer, nn.Linear) else (2, 5, 6, 6))
    changed = type(layer).__new__(type(layer))
    vars(changed).update(vars(layer), _parameters={"weight": changed_weight(layer.weight, adapter.tensors()), "bias": layer.bias})
    torch.testing.assert_close(adapter(x), changed(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("outputs", "rank", "expected"), [(320, 8, (40, 8, 8)), (320, 7, (64, 5, 5)), (4, 64, (1, 4, 4))])
def test_oft_takes_the_largest_block_that_divides(outputs, rank, expected):
    assert Oft.shape(outputs, rank) == expected


@pytest.mark.parametrize(("outputs", "rank", "expected"), [
    (320, 8, (4, 40, 8, 8)), (320, 15, (4, 40, 8, 8)), (64, 8, (4, 8, 8, 8)), (4, 64, (1, 1, 4, 4)), (6, 8, (1, 3, 2, 2))])
def test_boft_turns_as_often_as_the_blocks_can_be_halved(outputs, rank, expected):
    assert Boft.shape(outputs, rank) == expected


def test_in_boft_every_output_meets_every_other():
    adapter = trained(Boft, nn.Linear(32, 32), rank=4)
    with torch.no_grad():
        adapter.layer.weight.copy_(torch.eye(32))
    assert (adapter.delta() + torch.eye(32)).abs().gt(1e-6).all()
    alone = trained(Oft, adapter.layer, rank=4)
    assert (alone.delta() + torch.eye(32)).abs().gt(1e-6).sum() == 8 * 4 * 4


@both
def test_the_constraint_shortens_the_antisymmetric_part(method):
    layer = nn.Linear(10, 24)
    free, bound = trained(method, layer), trained(method, layer, constraint=0.01)
    assert bound.delta().norm() < 0.2 * free.delta().norm()
    torch.testing.assert_close(layer.weight + bound.delta(), changed_weight(layer.weight, bound.tensors()), rtol=1e-4, atol=1e-6)
    assert bound.tensors()["alpha"].item() == pytest.approx(0.01)
    loose = trained(method, layer, deviation=1e-4, constraint=0.01)
    torch.testing.assert_close(loose.delta(), trained(method, layer, deviation=1e-4).delta())


@both
def test_a_file_without_a_limit_is_turned_by_readers_that_always_limit(method):
    """kohya-ss/sd-scripts (networks/oft.py) and SD.Next (network_oft.py) clamp to alpha x outputs, and so to 0 by alpha 0."""
    free = trained(method, nn.Linear(10, 24))
    parts = free.tensors()
    q = parts["oft_blocks"] - parts["oft_blocks"].transpose(-1, -2)
    assert q.norm() > 0.1
    assert torch.equal(torch.clamp(q.norm(), max=parts["alpha"] * 24), q.norm())
    assert type(free).read(parts).constraint == 0.0
    assert type(free).read(parts | {"alpha": torch.tensor(0.0)}).constraint == 0.0  # files of before


@both
def test_a_limit_of_norms_leaves_turns_alone(method):
    adapter = trained(method, nn.Linear(10, 24))
    before = adapter.blocks.clone()
    adapter.limit_norm(1e-3)
    assert torch.equal(adapter.blocks, before)


def test_boft_keeps_its_outputs_once_for_the_way_back():
    adapter, kept = trained(Boft, nn.Linear(10, 64), rank=2), []
    x = torch.randn(500, 10)
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor) or tensor, lambda tensor: tensor):
        adapter(x)
    assert len(adapter.blocks) == 6
    assert sum(tensor.numel() >= 500 * 64 for tensor in kept) <= 1
