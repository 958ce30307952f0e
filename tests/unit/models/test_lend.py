"""What was lent comes back as it was."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import tiny
from pivotal.models.lend import lend


def snapshot(module):
    return {
        "values": {name: tensor.clone() for name, tensor in module.state_dict().items()},
        "places": {name: (tensor.data_ptr(), tensor.dtype) for name, tensor in module.state_dict().items()},
        "modes": [part.training for part in module.modules()],
        "grads": [(parameter.requires_grad, parameter.grad is None) for parameter in module.parameters()],
        "hooks": [(len(part._forward_hooks), len(part._forward_pre_hooks), len(part._backward_hooks))
                  for part in module.modules()],
        "names": [(name, type(part)) for name, part in module.named_modules()],
        "attributes": [sorted(vars(part)) for part in module.modules()],
        "checkpointing": [getattr(part, "gradient_checkpointing", None) for part in module.modules()],
    }


def assert_same(before, after):
    values, expected = after.pop("values"), before.pop("values")
    assert before == after
    assert all(torch.equal(values[name], expected[name]) for name in expected)


def misuse(unet):
    """What a trainer does to a model, and some more."""
    unet.train()
    unet.requires_grad_(True)
    unet.enable_gradient_checkpointing()
    unet.conv_in.register_forward_hook(lambda *_: None)
    unet.conv_in.register_forward_pre_hook(lambda *_: None)
    unet.conv_in.register_full_backward_hook(lambda *_: None)
    unet.conv_in.forward = lambda values: values
    unet.conv_out = nn.Identity()
    unet.time_embedding.adapter = nn.Linear(2, 2)
    for parameter in unet.parameters():
        parameter.grad = torch.ones_like(parameter)
    unet.to(torch.bfloat16)


@pytest.mark.parametrize("raises", [False, True])
def test_everything_is_restored(raises):
    unet = tiny.tiny_model("sd1").unet
    before = snapshot(unet)
    if raises:
        with pytest.raises(KeyError), lend([unet]):
            misuse(unet)
            raise KeyError
    else:
        with lend([unet]):
            misuse(unet)
            assert unet.training
    assert_same(before, snapshot(unet))


def test_a_text_encoders_checkpointing_is_switched_off_again():
    module = tiny.tiny_model("sd1").text_encoders[0].module
    before = snapshot(module)
    with lend([module]):
        module.gradient_checkpointing_enable()
        module.train()
    assert_same(before, snapshot(module))


def test_hooks_that_were_there_stay():
    layer, seen = nn.Linear(2, 2), []
    layer.register_forward_hook(lambda *_: seen.append(1))
    with lend([layer]):
        layer.register_forward_hook(lambda *_: seen.append(2))
        layer._forward_hooks.pop(next(iter(layer._forward_hooks)))
        layer(torch.ones(1, 2))
    layer(torch.ones(1, 2))
    assert seen == [2, 1]


def test_a_write_in_place_is_logged(caplog):
    layer = nn.Linear(2, 2)
    with lend([layer]), torch.no_grad():
        layer.weight.add_(1)
    assert "written in place" in caplog.text
