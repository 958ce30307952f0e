"""LoHa and LoKr: the products themselves, and what is kept for the way back."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.func import functional_call

from pivotal.errors import FormatError
from pivotal.networks.loha import LoHa
from pivotal.networks.lokr import LoKr, small_factor
from pivotal.networks.lora import Lora
from pivotal.networks.settings import LayerSettings


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def trained(method, layer, **options):
    adapter = method(layer.requires_grad_(False), LayerSettings(**{"rank": 3, "alpha": 1.5} | options), seeded())
    with torch.no_grad():
        for place, parameter in enumerate(adapter.parameters()):
            parameter.add_(torch.randn(parameter.shape, generator=seeded(place)) * 0.3)
    return adapter


def test_loha_is_the_entrywise_product_of_two_products():
    adapter = trained(LoHa, nn.Linear(10, 14))
    expected = torch.empty(14, 10)
    for row in range(14):
        for column in range(10):
            first = sum(adapter.w1_a[row, r] * adapter.w1_b[r, column] for r in range(3))
            second = sum(adapter.w2_a[row, r] * adapter.w2_b[r, column] for r in range(3))
            expected[row, column] = first * second * 1.5 / 3
    torch.testing.assert_close(adapter.delta(), expected, rtol=1e-5, atol=1e-6)


def test_loha_reaches_the_square_of_its_rank():
    change = trained(LoHa, nn.Linear(64, 64), rank=3).delta()
    assert torch.linalg.matrix_rank(change, rtol=1e-5) == 9  # arXiv:2108.06098, proposition 2


@pytest.mark.parametrize("rank", [2, 64])
def test_lokr_is_the_kronecker_product(rank):
    adapter = trained(LoKr, nn.Linear(12, 20), rank=rank, alpha=1.0)
    assert adapter.w1.shape == (4, 3)
    w2 = adapter.w2 if rank == 64 else adapter.w2_a @ adapter.w2_b
    torch.testing.assert_close(adapter.delta(), torch.kron(adapter.w1, w2) * (1 if rank == 64 else 1 / 2))


def test_lokr_of_a_convolution_is_a_product_at_every_place_of_the_kernel():
    adapter = trained(LoKr, nn.Conv2d(12, 20, 3), rank=64)
    w2 = adapter.tensors()["lokr_w2"]
    assert w2.shape == (5, 4, 3, 3)
    for row in range(3):
        for column in range(3):
            torch.testing.assert_close(adapter.delta()[:, :, row, column], torch.kron(adapter.w1, w2[:, :, row, column]))


@pytest.mark.parametrize(("size", "factor", "expected"), [
    (320, None, 16), (320, 8, 8), (320, 7, 5), (1280, None, 32), (128, 16, 8), (127, None, 1), (768, 24, 24), (4, None, 2)])
def test_the_small_matrix_has_the_largest_size_allowed(size, factor, expected):
    assert small_factor(size, factor) == expected


def test_a_whole_matrix_takes_no_low_rank_of_a_file():
    with pytest.raises(FormatError, match="lokr_w2 is of rank 2"):
        trained(LoKr, nn.Linear(12, 20), rank=64).load(trained(LoKr, nn.Linear(12, 20), rank=2).tensors())


def test_a_first_matrix_in_two_factors_is_read():
    adapter = trained(LoKr, nn.Linear(12, 20), rank=64)
    parts = adapter.tensors()
    kept = adapter.delta().clone()
    left, values, right = torch.linalg.svd(parts.pop("lokr_w1"), full_matrices=False)
    parts |= {"lokr_w1_a": left * values, "lokr_w1_b": right, "alpha": torch.tensor(6.0)}
    adapter.load(parts)
    torch.testing.assert_close(adapter.delta(), kept * 6 / 3)  # the host divides alpha by the rank of w1_b, which is 3


@pytest.mark.parametrize("method", [LoHa, LoKr])
def test_another_alpha_than_the_files_keeps_its_change(method):
    layer = nn.Linear(12, 20)
    first = trained(method, layer, rank=2)
    again = method(layer, LayerSettings(2, 8.0), seeded(5))
    again.load(first.tensors())
    torch.testing.assert_close(again.delta(), first.delta())


@pytest.mark.parametrize("layer", [nn.Linear(12, 20), nn.Conv2d(12, 20, 3, stride=2, padding=1),
                                   nn.Conv2d(12, 20, 3, padding=1, padding_mode="circular")], ids=str)
@pytest.mark.parametrize("method", [LoHa, LoKr])
def test_gradients_are_those_of_the_changed_weight(method, layer):
    adapter = trained(method, layer)
    x = torch.randn((3, 12) if isinstance(layer, nn.Linear) else (2, 12, 6, 6), generator=seeded(6)).requires_grad_()
    grads = []
    for output in (adapter, lambda x: functional_call(layer, {"weight": layer.weight + adapter.delta()}, (x,))):
        y = output(x)
        y.pow(3).sum().backward()
        grads.append([y, x.grad, *(parameter.grad for parameter in adapter.parameters())])
        x.grad = None
        adapter.zero_grad()
    for found, expected in zip(*grads, strict=True):  # by the largest: sums of cubes cancel, and fp32 keeps what it can
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-4 * expected.abs().max().item())


@pytest.mark.parametrize("layer", [nn.Linear(256, 192), nn.Conv2d(96, 64, 3, padding=1)], ids=["linear", "convolution"])
@pytest.mark.parametrize(("method", "dora"), [(LoHa, False), (LoHa, True), (LoKr, False), (LoKr, True), (Lora, True)])
def test_nothing_of_a_weights_size_is_kept_for_the_way_back(method, dora, layer):
    x = torch.randn((4, 256) if isinstance(layer, nn.Linear) else (1, 96, 4, 4)).requires_grad_()
    lora = kept_bytes(trained(Lora, layer, rank=2), x)
    found = kept_bytes(trained(method, layer, rank=2, dora=dora), x)
    assert 0 < lora < layer.weight.nbytes / 4
    assert found - lora < layer.weight.nbytes / 8


def kept_bytes(adapter, x):
    """What autograd keeps of an adapter's output beside the frozen layer's own tensors and the input."""
    kept = {}
    known = {tensor.untyped_storage().data_ptr() for tensor in (*adapter.layer.parameters(), x)}

    def note(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            kept[storage.data_ptr()] = (storage.nbytes(), tensor)  # the tensor too, or its address would be used again
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        adapter(x)
    return sum(count for count, _ in kept.values())
