"""Which method fits what, and how files tell theirs."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from pivotal.errors import FormatError
from pivotal.networks.methods import METHODS, fits, method_of, rank_problem, settings_of, supports, supports_dora
from pivotal.networks.settings import LayerSettings


def parts_of(*names):
    return {name: torch.ones(4, 4) for name in names}


def packed():
    """A linear layer as 4-bit hosts keep it: two numbers in a byte."""
    layer = nn.Linear(4, 4)
    layer.weight = nn.Parameter(torch.zeros(8, 1, dtype=torch.uint8), requires_grad=False)
    return layer


@pytest.mark.parametrize(("method", "module", "expected"), [
    ("lora", nn.Linear(4, 4), True),
    ("lora", nn.Conv2d(4, 4, 3), True),
    ("lora", nn.Conv2d(4, 4, 3, groups=2), False),
    ("lora", nn.Conv2d(9, 4, 3), False),  # A1111 takes it for an inpainting model and adds inputs to the change
    ("lora", nn.LayerNorm(4), False),
    ("lora", nn.Embedding(4, 4), False),
    ("lora", packed(), False),
    ("glora", nn.Linear(4, 4), True),
    ("glora", nn.Conv2d(4, 4, 1), False),  # A1111 multiplies the weight as a matrix
    ("oft", nn.Linear(4, 6), True),
    ("boft", nn.Linear(4, 5), False),
    ("norm", nn.GroupNorm(2, 4), True),
    ("norm", nn.LayerNorm(4), True),
    ("norm", nn.LayerNorm(4, elementwise_affine=False), False),
    ("norm", nn.Linear(4, 4), False),
])
def test_a_method_fits_what_the_host_then_applies(method, module, expected):
    assert fits(method, module) is expected


@pytest.mark.parametrize(("names", "expected"), [
    (("lora_down.weight", "lora_up.weight", "alpha"), "lora"),
    (("lora_down.weight", "lora_up.weight", "lora_mid.weight"), None),  # Tucker's decomposition
    (("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b"), "loha"),
    (("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b", "hada_t1"), None),
    (("lokr_w1", "lokr_w2"), "lokr"),
    (("lokr_w1_a", "lokr_w1_b", "lokr_w2_a", "lokr_w2_b"), "lokr"),
    (("oft_diag",), None),
    (("weight", "on_input"), "ia3"),
    (("a1.weight", "a2.weight", "b1.weight", "b2.weight", "alpha"), "glora"),
    (("diff",), "full"),
    (("w_norm", "b_norm"), "norm"),
    (("something",), None),
])
def test_a_files_layer_tells_its_method(names, expected):
    assert method_of(parts_of(*names)) == expected


def test_oft_and_boft_are_told_by_their_dimensions():
    assert method_of({"oft_blocks": torch.ones(5, 4, 4)}) == "oft"
    assert method_of({"oft_blocks": torch.ones(2, 5, 4, 4)}) == "boft"


def test_rank_and_alpha_are_read_off_a_layer():
    parts = {"lora_down.weight": torch.ones(6, 3), "lora_up.weight": torch.ones(5, 6), "alpha": torch.tensor(2.0)}
    assert settings_of("lora", parts) == LayerSettings(6, 2.0)
    assert settings_of("dylora", parts) == LayerSettings(6, 2.0)
    assert settings_of("lora", parts | {"dora_scale": torch.ones(1, 3)}).dora
    del parts["alpha"]
    assert settings_of("lora", parts).alpha == 6  # no alpha: the scale is 1


def test_another_method_than_the_files_is_refused():
    parts = parts_of("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b")
    with pytest.raises(FormatError, match=r"expected a layer of the method lora, found loha \(hada_w1_a"):
        settings_of("lora", parts)


@pytest.mark.parametrize(("method", "settings", "said"), [
    ("lora", LayerSettings(0, 1.0), "the rank must be 1 or more, got 0"),
    ("lora", LayerSettings(4, 0.0), "alpha must be more than 0"),
    ("dylora", LayerSettings(6, 1.0, unit=4), "the rank (6) must be a multiple of the unit (4)"),
    ("oft", LayerSettings(1, 1.0), "a block must have a size of 2 or more"),
])
def test_ranks_that_cannot_be_are_named(method, settings, said):
    assert said in rank_problem(method, settings)


@pytest.mark.parametrize(("method", "settings"), [
    ("lora", LayerSettings(1, 0.5)), ("dylora", LayerSettings(8, 1.0, unit=4)), ("ia3", LayerSettings(0, 0.0)),
    ("full", LayerSettings(0, 0.0)), ("boft", LayerSettings(2, 0.0))])
def test_other_ranks_are_no_problem(method, settings):
    assert rank_problem(method, settings) is None


def test_dora_is_for_those_that_change_by_a_sum_of_products():
    assert {method for method in METHODS if supports_dora(method)} == {"lora", "loha", "lokr"}
    assert supports("lora", "dropout") and not supports("loha", "dropout")
    assert all(supports(method, "module_dropout") for method in METHODS)
