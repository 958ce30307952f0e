"""DyLoRA: which ranks a step uses and trains (arXiv:2210.07558, algorithm 1, frozen)."""

from __future__ import annotations

import torch
from torch import nn

from pivotal.models.layers import Layer
from pivotal.networks.dylora import DyLora
from pivotal.networks.network import Network
from pivotal.networks.settings import LayerSettings


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def trained(unit=2):
    adapter = DyLora(nn.Linear(6, 9), LayerSettings(8, 4.0, unit=unit), seeded())
    with torch.no_grad():
        adapter.up.normal_(generator=seeded(1))
    return adapter.train()


def test_a_step_uses_the_ranks_up_to_the_drawn_and_trains_the_last_unit():
    adapter, x = trained(), torch.randn(3, 6)
    adapter.share(0.6)  # of four units the third: ranks 4 and 5
    change = adapter.change(x, torch.zeros(3, 9))
    torch.testing.assert_close(change, x @ adapter.down[:6].t() @ adapter.up[:, :6].t() * 4 / 8)
    change.square().sum().backward()
    assert adapter.down.grad.abs().sum(1).ne(0).tolist() == [False] * 4 + [True] * 2 + [False] * 2
    assert adapter.up.grad.abs().sum(0).ne(0).tolist() == [False] * 4 + [True] * 2 + [False] * 2


def test_all_ranks_serve_outside_of_training_and_in_the_file():
    adapter, x = trained(), torch.randn(3, 6)
    adapter.share(0.0)
    adapter.eval()
    parts = adapter.tensors()
    assert parts["lora_down.weight"].shape == (8, 6)
    expected = parts["lora_up.weight"] @ parts["lora_down.weight"] * parts["alpha"] / 8
    torch.testing.assert_close(adapter.change(x, torch.zeros(3, 9)), x @ expected.t())


def test_a_step_draws_one_place_for_all_layers_and_every_place_comes():
    layers = [Layer("unet", str(n), f"lora_unet_{n}", (), None, nn.Linear(6, 9)) for n in range(3)]
    settings = [LayerSettings(8, 4.0, unit=2), LayerSettings(8, 4.0, unit=2), LayerSettings(4, 4.0)]
    network = Network("unet", "dylora", list(zip(layers, settings, strict=True)), seeded())
    blocks, generator = [], seeded()
    for _ in range(200):
        network.prepare(generator)
        first, second, third = (adapter.block for adapter in network.adapters.values())
        assert first == second
        assert third[0] == first[0] // 2  # the same share of its four units
        blocks.append(first)
    assert {block: blocks.count(block) > 30 for block in blocks} == dict.fromkeys([(0, 2), (2, 4), (4, 6), (6, 8)], True)
