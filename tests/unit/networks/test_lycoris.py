"""LyCORIS 4.1.3 makes the same of our parts, where it is right for the hosts.

Not compared: DyLoRA (its scale is not its file's), GLoRA and IA3 (A1111 refuses some of its layers).
"""

from __future__ import annotations

import pytest
import torch
from lycoris.modules.boft import ButterflyOFTModule
from lycoris.modules.diag_oft import DiagOFTModule
from lycoris.modules.locon import LoConModule
from lycoris.modules.loha import LohaModule
from lycoris.modules.lokr import LokrModule
from torch import nn

from pivotal.networks.methods import METHODS
from pivotal.networks.settings import LayerSettings

LAYERS = {"linear": lambda: nn.Linear(24, 32), "1 x 1": lambda: nn.Conv2d(24, 32, 1), "3 x 3": lambda: nn.Conv2d(24, 32, 3)}
THEIRS = {"lora": LoConModule, "loha": LohaModule, "lokr": LokrModule, "oft": DiagOFTModule, "boft": ButterflyOFTModule}
CASES = [("lora", False), ("lora", True), ("loha", False), ("loha", True), ("lokr", False), ("lokr", True), ("oft", False),
         ("boft", False)]


def trained(method, layer, dora, rank):
    generator = torch.Generator().manual_seed(0)
    adapter = METHODS[method](layer.requires_grad_(False), LayerSettings(rank, 2.0, dora=dora), generator)
    with torch.no_grad():
        for parameter in adapter.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.2)
    return adapter


def theirs(method, layer, parts, dora, rank):
    """Their module for the layer, given our parts; with lengths per input, as A1111 reads them."""
    dora_options = {"weight_decompose": True, "wd_on_out": False} if dora else {}
    module = THEIRS[method]("lora_unet_x", layer, 1.0, rank, float(parts["alpha"]), **dora_options)
    for name in sorted(set(parts) - {"alpha"}):  # its own loader gets some of the ranks and shapes wrong
        parameter = module.get_parameter(name)
        assert parameter.shape == parts[name].shape, name
        parameter.copy_(parts[name])
    module.scalar = torch.ones(())  # LoRA's zero at the start, which lies in the factors with us
    return module


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize(("method", "dora"), CASES, ids=[f"{method}-dora" if dora else method for method, dora in CASES])
@pytest.mark.parametrize("rank", [2, 4])
def test_its_layer_gives_the_same_output(method, dora, kind, rank):
    """Its forward, as its merging counts the scale of LoHa twice."""
    layer = LAYERS[kind]()
    adapter = trained(method, layer, dora, rank)
    x = torch.randn((5, 24) if kind == "linear" else (2, 24, 5, 5), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        module = theirs(method, layer, adapter.tensors(), dora, rank).eval()
        found, expected, plain = adapter(x), module(x), layer(x)
    assert (expected - plain).norm() > 0.01 * plain.norm()
    assert (found - expected).norm() < 1e-4 * (expected - plain).norm()
