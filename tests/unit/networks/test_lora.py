"""LoRA by the formula, what a step leaves out of it, and files."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from pivotal.errors import FormatError
from pivotal.networks.lora import Lora
from pivotal.networks.settings import LayerSettings


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def trained(layer, seed=1, **options):
    """A LoRA of rank 4 and alpha 2 with random factors."""
    adapter = Lora(layer.requires_grad_(False), LayerSettings(**{"rank": 4, "alpha": 2.0} | options), seeded())
    with torch.no_grad():
        adapter.up.normal_(0, 0.3, generator=seeded(seed))
    return adapter.eval()


CONVOLUTIONS = [dict(kernel_size=3, padding=1), dict(kernel_size=3, stride=2, padding=1), dict(kernel_size=1),
                dict(kernel_size=3, padding=2, dilation=2), dict(kernel_size=3, padding=1, padding_mode="circular")]


@pytest.mark.parametrize("options", CONVOLUTIONS, ids=str)
def test_a_convolution_equals_one_with_the_changed_weight(options):
    layer = nn.Conv2d(6, 10, **options)
    adapter = trained(layer)
    x = torch.randn(2, 6, 9, 9)
    changed = nn.Conv2d(6, 10, **options)
    product = torch.einsum("or,rikl->oikl", adapter.up[:, :, 0, 0], adapter.down)
    changed.load_state_dict({"weight": layer.weight + 2 / 4 * product, "bias": layer.bias})
    torch.testing.assert_close(adapter(x), changed(x), rtol=1e-5, atol=1e-5)


def test_rank_stabilized_scale_is_alpha_over_the_root_and_survives_a_plain_reader():
    adapter = trained(nn.Linear(5, 7), rank=16, alpha=2.0, rank_stabilized=True)
    parts = adapter.tensors()
    product = parts["lora_up.weight"] @ parts["lora_down.weight"]
    torch.testing.assert_close(adapter.delta(), product * 2 / 4)  # arXiv:2312.03732
    torch.testing.assert_close(product * parts["alpha"] / 16, product * 2 / 4)  # as every reader has it


def test_down_starts_as_torch_starts_a_linear_layer():
    down = Lora(nn.Linear(400, 50), LayerSettings(64, 1.0), seeded(3)).down
    assert down.abs().max() < 400 ** -0.5 and down.abs().max() > 0.99 * 400 ** -0.5
    assert down.std().item() == pytest.approx((3 * 400) ** -0.5, rel=0.02)
    again = Lora(nn.Linear(400, 50), LayerSettings(64, 1.0), seeded(3)).down
    assert torch.equal(down, again)


def test_the_layer_is_no_submodule():
    adapter = trained(nn.Linear(5, 7))
    assert sorted(name for name, _ in adapter.named_parameters()) == ["down", "up"]
    assert list(adapter.children()) == []


def test_gradients_are_those_of_the_changed_weight():
    layer = nn.Linear(6, 8)
    adapter = trained(layer)
    x, target = torch.randn(5, 6), torch.randn(5, 8)
    (adapter(x) - target).square().sum().backward()
    down, up = (tensor.detach().clone().requires_grad_() for tensor in (adapter.down, adapter.up))
    (functional.linear(x, layer.weight + 0.5 * up @ down, layer.bias) - target).square().sum().backward()
    torch.testing.assert_close(adapter.down.grad, down.grad, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(adapter.up.grad, up.grad, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["linear", "convolution"])
def test_dropout_leaves_out_its_share_and_keeps_the_mean(kind):
    layer = nn.Linear(3, 8) if kind == "linear" else nn.Conv2d(3, 8, 1)
    adapter = trained(layer, rank=4, alpha=4.0, dropout=0.25)
    with torch.no_grad():  # each rank writes its own output, so what comes out are the values between down and up
        adapter.down.fill_(1)
        adapter.up.copy_(torch.eye(8, 4).view(adapter.up.shape))
    x = torch.ones(40, 50, 3) if kind == "linear" else torch.ones(40, 3, 10, 5)
    adapter.train()
    adapter.prepare(seeded())
    change = adapter.change(x, layer(x))
    values = change[..., :4] if kind == "linear" else change[:, :4]
    assert values.eq(0).float().mean().item() == pytest.approx(0.25, abs=0.02)
    torch.testing.assert_close(values[values != 0].mean(), torch.tensor(3 / 0.75))
    assert torch.equal(adapter.change(x, layer(x)), change)  # as recomputing would
    adapter.prepare(seeded(1))
    assert not torch.equal(adapter.change(x, layer(x)), change)
    adapter.eval()
    assert (adapter.change(x, layer(x)).flatten().unique() == torch.tensor([0.0, 3.0])).all()


@pytest.mark.parametrize("kind", ["linear", "convolution"])
def test_rank_dropout_leaves_out_whole_ranks_of_each_sample(kind):
    layer = nn.Linear(3, 8) if kind == "linear" else nn.Conv2d(3, 8, 1)
    adapter = trained(layer, rank=8, alpha=8.0, rank_dropout=0.5)
    with torch.no_grad():
        adapter.down.fill_(1)
        adapter.up.copy_(torch.eye(8).view(adapter.up.shape))
    x = torch.ones(64, 5, 3) if kind == "linear" else torch.ones(64, 3, 5, 1)
    adapter.train()
    adapter.prepare(seeded())
    change = adapter.change(x, layer(x))
    per_sample = change if kind == "linear" else change[..., 0].transpose(1, 2)
    assert torch.equal(per_sample, per_sample[:, :1].expand_as(per_sample))  # alike at all places
    assert per_sample[:, 0].unique().tolist() == [0.0, 6.0]
    assert 0.4 < per_sample[:, 0].eq(0).float().mean() < 0.6
    assert len(per_sample[:, 0].unique(dim=0)) > 30


def test_module_dropout_leaves_the_layer_as_it_was_for_that_share_of_steps():
    layer = nn.Linear(3, 8)
    adapter, x = trained(layer, module_dropout=0.3), torch.randn(2, 3)
    adapter.train()
    generator, skipped = seeded(), 0
    for _ in range(300):
        adapter.prepare(generator)
        is_plain = torch.equal(adapter(x), layer(x))
        assert is_plain == torch.equal(adapter(x), layer(x))
        skipped += is_plain
    assert 65 < skipped < 115
    adapter.is_skipped = True
    assert not torch.equal(adapter.eval()(x), layer(x))


def test_nothing_random_is_drawn_from_the_global_generators():
    adapter = trained(nn.Linear(3, 8), dropout=0.5, rank_dropout=0.5, module_dropout=0.5).train()
    before = torch.get_rng_state()
    adapter.prepare(seeded())
    adapter(torch.randn(2, 3, generator=seeded()))
    assert torch.equal(torch.get_rng_state(), before)


def test_another_alpha_than_the_files_keeps_its_change():
    layer = nn.Linear(5, 7)
    first = trained(layer, alpha=2.0)
    again = Lora(layer, LayerSettings(4, 16.0), seeded(5))
    again.load(first.tensors())
    torch.testing.assert_close(again.delta(), first.delta())
    assert again.tensors()["alpha"] == 16


def test_a_file_without_alpha_has_the_scale_one():
    layer = nn.Linear(5, 7)
    first = trained(layer, alpha=4.0)
    parts = first.tensors()
    del parts["alpha"]
    again = Lora(layer, LayerSettings(4, 2.0), seeded(5))
    again.load(parts)
    torch.testing.assert_close(again.delta(), parts["lora_up.weight"] @ parts["lora_down.weight"])


def test_a_1_by_1_convolution_takes_the_matrices_of_a_linear_layer():
    adapter = trained(nn.Conv2d(5, 7, 1))
    parts = {name: tensor.flatten(1) if tensor.dim() == 4 else tensor for name, tensor in adapter.tensors().items()}
    again = Lora(adapter.layer, adapter.settings, seeded(9))
    again.load(parts)
    assert torch.equal(again.up, adapter.up)
    assert again.tensors()["lora_up.weight"].shape == (7, 4, 1, 1)


@pytest.mark.parametrize(("other", "said"), [
    (lambda: trained(nn.Linear(5, 7), rank=8), "lora_down.weight has the shape (8, 5), expected (4, 5)"),
    (lambda: trained(nn.Linear(6, 7)), "(4, 6), expected (4, 5)"),
    (lambda: trained(nn.Linear(5, 9)), "lora_up.weight has the shape (9, 4), expected (7, 4)"),
    (lambda: trained(nn.Linear(5, 7), dora=True), "switch DoRA on"),
])
def test_a_file_that_does_not_fit_is_refused(other, said):
    adapter = trained(nn.Linear(5, 7))
    with pytest.raises(FormatError) as error:
        adapter.load(other().tensors())
    assert said in str(error.value)


def test_a_missing_part_is_named():
    parts = trained(nn.Linear(5, 7)).tensors()
    del parts["lora_up.weight"]
    with pytest.raises(FormatError, match=r"lora_up.weight is missing; there are alpha, lora_down.weight"):
        trained(nn.Linear(5, 7)).load(parts)


def test_the_norm_of_a_change_is_limited_in_both_factors_alike():
    adapter = trained(nn.Linear(30, 40))
    before, ratio = adapter.delta().clone(), (adapter.up.norm() / adapter.down.norm()).item()
    assert before.norm() > 1
    adapter.limit_norm(1.0)
    torch.testing.assert_close(adapter.delta(), before / before.norm())
    assert (adapter.up.norm() / adapter.down.norm()).item() == pytest.approx(ratio)
    after = adapter.delta().clone()
    adapter.limit_norm(1.5)
    torch.testing.assert_close(adapter.delta(), after)


def test_written_tensors_are_copies():
    adapter = trained(nn.Linear(5, 7))
    parts = adapter.tensors()
    kept = parts["lora_up.weight"].clone()
    with torch.no_grad():
        adapter.up.add_(1)
    assert torch.equal(parts["lora_up.weight"], kept)
