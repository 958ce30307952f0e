"""A part's adapters together: rates, files, limits."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from pivotal.errors import FormatError
from pivotal.models.layers import Layer
from pivotal.networks.network import Network
from pivotal.networks.settings import LayerSettings


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def layer_of(name, module, part="unet", path=None):
    return Layer(part, path or name, f"lora_{part}_{name}", (), None, module)


def network_of(rates=(1.0, 1.0), method="lora", **options):
    chosen = [(layer_of(str(n), nn.Linear(6, 9)), LayerSettings(4, 2.0, rate=rate)) for n, rate in enumerate(rates)]
    return Network("unet", method, chosen, seeded(), **options)


def test_parameters_of_a_rate_make_one_group():
    groups = network_of((1.0, 1.0, 0.5)).groups()
    assert [(rate, len(parameters)) for rate, parameters in groups] == [(1.0, 4), (0.5, 2)]


def test_lora_plus_teaches_the_second_factors_faster():
    network = network_of((1.0, 0.5, 1.0), plus_ratio=16.0)
    found = {rate: {tuple(parameter.shape) for parameter in parameters} for rate, parameters in network.groups()}
    assert found == {1.0: {(4, 6)}, 16.0: {(9, 4)}, 0.5: {(4, 6)}, 8.0: {(9, 4)}}


def test_norm_layers_get_the_difference_of_norms():
    chosen = [(layer_of("a", nn.Linear(6, 9)), LayerSettings(4, 2.0)), (layer_of("b", nn.GroupNorm(2, 8)), LayerSettings(4, 2.0))]
    tensors = Network("unet", "loha", chosen, seeded()).file_tensors()
    assert set(tensors["lora_unet_b"]) == {"w_norm", "b_norm"}
    assert "hada_w1_a" in tensors["lora_unet_a"]


def test_whole_differences_leave_the_bias_of_joined_projections():
    """OpenCLIP keeps q, k and v in one tensor, and A1111 reads no change of its bias."""
    names = ("q_proj", "out_proj")
    chosen = [(layer_of(name, nn.Linear(6, 6), "te1", f"text_model.encoder.layers.0.self_attn.{name}"), LayerSettings(1, 1.0))
              for name in names]
    tensors = Network("te1", "full", chosen, seeded()).file_tensors()
    assert set(tensors["lora_te1_q_proj"]) == {"diff"}
    assert set(tensors["lora_te1_out_proj"]) == {"diff", "diff_b"}


def test_changes_grow_no_longer_than_the_limit():
    network = network_of(norm_limit=0.7)
    with torch.no_grad():
        network.adapters["lora_unet_0"].up.normal_(generator=seeded())
    network.after_step()
    first, second = network.adapters.values()
    assert first.delta().norm().item() == pytest.approx(0.7)
    assert second.delta().norm() == 0


def test_it_is_made_in_evaluation_mode_and_gives_no_words():
    network = network_of()
    assert not network.training and not any(part.training for part in network.modules())
    assert network.vectors() == {} and network.name == "unet"


def test_a_files_layers_are_taken_and_the_others_stay():
    first, second = network_of(), network_of()
    with torch.no_grad():
        first.adapters["lora_unet_0"].up.normal_(generator=seeded())
    tensors = first.file_tensors()
    second.load_file({"lora_unet_0": tensors["lora_unet_0"], "lora_te_elsewhere": tensors["lora_unet_1"]})
    assert torch.equal(second.adapters["lora_unet_0"].up, first.adapters["lora_unet_0"].up)
    assert second.adapters["lora_unet_1"].up.eq(0).all()


def test_a_file_without_our_layers_is_refused():
    with pytest.raises(FormatError, match="none of the file's 1 layers belongs to this network"):
        network_of().load_file({"lora_te_elsewhere": {}})


def test_a_layer_that_does_not_fit_is_named():
    tensors = network_of().file_tensors()
    tensors["lora_unet_1"]["lora_down.weight"] = torch.zeros(8, 6)
    with pytest.raises(FormatError, match=r"lora_unet_1: lora_down.weight has the shape \(8, 6\)"):
        network_of().load_file(tensors)


def test_a_layer_of_another_method_is_refused():
    with pytest.raises(FormatError, match="lora_unet_0: the file's method is lora, expected LoKr"):
        network_of(method="lokr").load_file(network_of().file_tensors())


def test_nothing_stays_on_the_layers_when_attaching_fails_half_way():
    network = network_of()
    first, second = network.adapters.values()

    class Stubborn(nn.Linear):
        def __setattr__(self, name, value):
            if name == "forward":
                raise ZeroDivisionError
            super().__setattr__(name, value)

    vars(second)["layer"] = Stubborn(6, 9)
    with pytest.raises(ZeroDivisionError), network.attached():
        pass
    assert "forward" not in vars(first.layer)
