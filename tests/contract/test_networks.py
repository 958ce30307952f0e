"""What every method keeps to, on the layers of every family."""

from __future__ import annotations

from contextlib import ExitStack

import pytest
import torch
from torch import nn

import tiny
from pivotal.models.layers import layers_of
from pivotal.networks.methods import METHODS, fits, method_of, settings_of, supports_dora
from pivotal.networks.network import Network
from pivotal.networks.settings import LayerSettings
from plain_networks import host_output

pytestmark = pytest.mark.once

FAMILIES = sorted(tiny.SHAPES)
KINDS = [(method, False) for method in METHODS] + [(method, True) for method in METHODS if supports_dora(method)]
RATES = {"boft": 1e-3, "full": 1e-3, "oft": 3e-3}  # each of them changes all of a weight; with more they overshoot
LATENTS = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(1))
TARGET = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(2))
STEPS, SIZES = torch.tensor([400, 30]), torch.tensor([[64.0, 64, 0, 0, 64, 64]]).repeat(2, 1)
every_kind = pytest.mark.parametrize(("method", "dora"), KINDS, ids=[f"{m}-dora" if d else m for m, d in KINDS])
every_family = pytest.mark.parametrize("family", [  # SD 2 differs from SD 1 in widths alone here
    pytest.param(name, marks=[pytest.mark.slow] if name == "sd2" else []) for name in FAMILIES])


@pytest.fixture(scope="module")
def models():
    return {family: tiny.tiny_model(family) for family in FAMILIES}


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def networks_of(model, method, dora=False, seed=0):
    """One network per part, on every layer that the method can adapt."""
    settings = LayerSettings(rank=4, alpha=2.0, dora=dora)
    chosen = [layer for layer in layers_of(model) if fits(method, layer.module)]
    parts = dict.fromkeys(layer.part for layer in chosen)
    return [Network(part, method, [(layer, settings) for layer in chosen if layer.part == part], seeded(seed)) for part in parts]


def attached(networks):
    stack = ExitStack()
    for network in networks:
        stack.enter_context(network.attached())
    return stack


def output(model):
    prompts = [tiny.tokenized("a red circle"), tiny.tokenized("two")]
    return model.predict(LATENTS, STEPS, model.encode_prompts(prompts), SIZES)


def disturb(networks, deviation=0.02):
    with torch.no_grad():
        for place, parameter in enumerate(p for network in networks for p in network.parameters()):
            parameter.add_(torch.randn(parameter.shape, generator=seeded(place)) * deviation)


@every_family
@every_kind
def test_an_untrained_network_changes_no_bit(models, family, method, dora):
    model = models[family]
    networks = networks_of(model, method, dora)
    with torch.no_grad():
        plain = output(model)
        with attached(networks):
            found = output(model)
    assert sum(len(network.adapters) for network in networks) > 30
    assert torch.equal(found, plain)


@every_family
@every_kind
def test_a_few_steps_lower_the_loss_and_a_file_gives_the_same_output(models, family, method, dora):
    model = models[family]
    networks = networks_of(model, method, dora)
    parameters = [parameter for network in networks for _, group in network.groups() for parameter in group]
    assert sorted(map(id, parameters)) == sorted(id(parameter) for network in networks for parameter in network.parameters())
    optimizer = torch.optim.AdamW(parameters, lr=RATES.get(method, 1e-2), weight_decay=0)
    losses = []
    for step in range(5):
        for network in networks:
            network.train()
            network.prepare(seeded(step))
        with attached(networks):
            loss = ((output(model) - TARGET) ** 2).mean()
            loss.backward()
        losses.append(loss.item())
        optimizer.step()
        optimizer.zero_grad()
    for network in networks:
        network.eval()
    with attached(networks), torch.no_grad():
        trained = output(model)
    assert ((trained - TARGET) ** 2).mean() < 0.985 * losses[0]
    again = networks_of(model, method, dora, seed=9)
    for network, other in zip(networks, again, strict=True):
        other.load_file(network.file_tensors())
    with attached(again), torch.no_grad():
        torch.testing.assert_close(output(model), trained, rtol=1e-5, atol=1e-6)


@every_family
@every_kind
def test_the_host_reads_the_same_change_from_the_file(models, family, method, dora):
    networks = networks_of(models[family], method, dora)
    disturb(networks, 0.05)
    count = 0
    for network in networks:
        tensors = network.file_tensors()
        with network.attached(), torch.no_grad():
            for key, adapter in network.adapters.items():
                layer = adapter.layer
                x = torch.randn(input_shape(layer), generator=seeded(count))
                found, plain = layer(x), type(layer).forward(layer, x)
                expected = host_output(bare(layer), tensors[key], x)
                assert (found - expected).norm() < 2e-4 * (expected - plain).norm(), key
                count += 1
    assert count > 30


def input_shape(layer):
    if isinstance(layer, (nn.Conv2d, nn.GroupNorm)):
        return (2, layer.weight.shape[1] if isinstance(layer, nn.Conv2d) else layer.num_channels, 6, 6)
    return (2, 5, layer.weight.shape[-1])


def bare(layer):
    """The layer without the forward that it has been given."""
    copy = object.__new__(type(layer))
    vars(copy).update({name: value for name, value in vars(layer).items() if name != "forward"})
    return copy


@every_kind
def test_settings_and_method_are_read_off_the_file(models, method, dora):
    network = networks_of(models["sd1"], method, dora)[0]
    for key, parts in network.file_tensors().items():
        written = "lora" if method == "dylora" else method
        assert method_of(parts) == written, key
        settings = settings_of(method, parts)
        layer = next(layer for layer in layers_of(models["sd1"]) if layer.key == key)
        again = Network("unet", method, [(layer, settings)], seeded(1))
        again.load_file({key: parts})
        for name, tensor in again.file_tensors()[key].items():
            if (name, method) != ("alpha", "lokr"):  # of whole matrices it says nothing
                torch.testing.assert_close(tensor, parts[name], msg=f"{key} {name}")


@every_kind
def test_detaching_leaves_no_trace(models, method, dora):
    model = models["sd1"]
    plain = output(model)  # first, as transformers remembers something of its first call
    before = picture_of(model)
    networks = networks_of(model, method, dora)
    disturb(networks)
    with pytest.raises(ZeroDivisionError), attached(networks):
        changed = output(model)
        changed.mean().backward()
        raise ZeroDivisionError
    assert not torch.allclose(changed, plain, atol=1e-3)
    assert picture_of(model) == before
    assert torch.equal(output(model), plain)
    assert not set(dict(networks[0].named_parameters())) & set(dict(model.unet.named_parameters()))


def picture_of(model):
    """Names, classes, attributes, hooks, and where and what each tensor is."""
    found = []
    for whole in (model.unet, *(encoder.module for encoder in model.text_encoders)):
        for name, module in whole.named_modules():
            hooks = {key: dict(value) for key, value in vars(module).items() if "hooks" in key and isinstance(value, dict)}
            found.append((name, type(module), sorted(vars(module)), hooks, module.training))
        for name, tensor in whole.named_parameters():
            found.append((name, tensor.data_ptr(), tensor.dtype, tensor.requires_grad, tensor.grad, float(tensor.double().sum())))
    return found


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@every_kind
def test_half_precision_keeps_small_changes(method, dora, dtype):
    """A layer W near 1 and a change near 1e-4: as W + D, bf16 would lose nearly all of it."""
    generator = seeded(5)
    module = nn.GroupNorm(8, 64) if method == "norm" else nn.Linear(64, 64)
    with torch.no_grad():
        # No bias: that the sum is rounded is the format's own, and is not what is measured.
        module.bias.zero_()
        module.weight.copy_(module.weight.to(dtype).float())
    adapter = METHODS[method](module, LayerSettings(rank=4, alpha=4.0, dora=dora), generator)
    with torch.no_grad():
        for parameter in adapter.parameters():
            start = parameter.clone()
            parameter.copy_(start + 1e-4 * torch.randn(start.shape, generator=generator))
    x = torch.randn(256, 64, generator=generator).to(dtype)
    parts = {name: tensor.double() for name, tensor in adapter.tensors().items()}
    with torch.no_grad():
        module.double()
        expected = host_output(module, parts, x.double()) - module(x.double())
        half = METHODS[method](module.to(dtype), adapter.settings, seeded(5))
        half.load_state_dict(adapter.state_dict())
        found = half.change(x, module(x))
        assert torch.equal(half(x), module(x) + found)
    assert found.dtype == dtype
    assert (found - expected).norm() < 0.03 * expected.norm()


@every_kind
def test_autocast_computes_in_its_format_and_learns_in_fp32(method, dora):
    module = nn.GroupNorm(8, 64) if method == "norm" else nn.Conv2d(64, 32, 1) if method != "glora" else nn.Linear(64, 32)
    x = torch.randn(2, 64, 4, 4) if method != "glora" else torch.randn(2, 64)
    adapter = METHODS[method](module.requires_grad_(False), LayerSettings(rank=4, alpha=4.0, dora=dora), seeded())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = adapter(x)
        assert y.dtype == type(module).forward(module, x).dtype
    y.float().square().mean().backward()
    assert all(p.dtype == torch.float32 for p in adapter.parameters())
    assert all(p.grad is not None and p.grad.dtype == torch.float32 and p.grad.isfinite().all() for p in adapter.parameters())


def test_two_networks_on_one_layer_add_up(models):
    model = models["sd1"]
    one, two = networks_of(model, "lora", seed=1)[0], networks_of(model, "full")[0]
    disturb([one, two])
    layer = model.unet.mid_block.attentions[0].proj_in
    x = torch.randn(input_shape(layer), generator=seeded())
    with torch.no_grad():
        plain = layer(x)
        with one.attached():
            first = layer(x)
            with two.attached():
                both = layer(x)
            assert torch.equal(layer(x), first)
        with two.attached():
            second = layer(x)
    torch.testing.assert_close(both, first + second - plain, rtol=1e-5, atol=1e-5)


def test_a_forward_of_somebody_else_is_used_and_given_back(models):
    model = models["sd1"]
    network = networks_of(model, "lora")[0]
    layer = model.unet.mid_block.attentions[0].proj_in
    x = torch.randn(input_shape(layer), generator=seeded())

    def own(x):
        return type(layer).forward(layer, x) + 1

    layer.forward = own
    try:
        with network.attached():
            torch.testing.assert_close(layer(x), own(x))
        assert vars(layer)["forward"] is own
    finally:
        del layer.forward


def test_a_replaced_forward_of_the_class_is_used(models, monkeypatch):
    """A1111 replaces the forward of nn.Linear and others while it runs."""
    network, seen = networks_of(models["sd1"], "lora")[0], []
    plain = nn.Linear.forward
    monkeypatch.setattr(nn.Linear, "forward", lambda layer, x: seen.append(layer) or plain(layer, x))
    with network.attached():
        models["sd1"].unet.time_embedding.linear_1(torch.randn(1, 32))
    assert seen == [models["sd1"].unet.time_embedding.linear_1]


@every_kind
def test_recomputed_layers_are_changed_alike(models, method, dora):
    """Gradients with checkpointing are those without, whatever is left out at random."""
    model = models["sd1"]
    layer = next(layer for layer in layers_of(model) if fits(method, layer.module) and "transformer_blocks" in layer.path)
    settings = LayerSettings(rank=4, alpha=2.0, dora=dora, dropout=0.4, rank_dropout=0.3, module_dropout=0.2)
    network = Network("unet", method, [(layer, settings)], seeded())
    disturb([network])
    x = torch.randn(input_shape(layer.module), generator=seeded(7))
    network.train()
    for seed in range(4):
        network.prepare(seeded(seed))
        grads = []
        for is_checkpointed in (False, True):
            inputs = x.clone().requires_grad_()
            with network.attached():
                if is_checkpointed:
                    y = torch.utils.checkpoint.checkpoint(layer.module, inputs, use_reentrant=False, preserve_rng_state=False)
                else:
                    y = layer.module(inputs)
                y.square().sum().backward()
            grads.append([inputs.grad, *(p.grad for p in network.parameters())])
            network.zero_grad()
        assert all((a is None and b is None) or torch.equal(a, b) for a, b in zip(*grads, strict=True))


@every_family
def test_layers_of_all_three_kinds_are_covered(models, family):
    layers = [layer for layer in layers_of(models[family]) if fits("lora", layer.module)]
    found = [vars(layer.module) for layer in layers if isinstance(layer.module, nn.Conv2d)]
    assert {((3, 3), (1, 1)), ((3, 3), (2, 2)), ((1, 1), (1, 1))} <= {(each["kernel_size"], each["stride"]) for each in found}
    assert {layer.part for layer in layers} >= {"unet", "te1"}
