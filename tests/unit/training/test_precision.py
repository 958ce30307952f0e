"""Number formats: what is switched for a run is switched back, and the lent VAE stays as it was."""

from __future__ import annotations

import pytest
import torch

import tiny
from pivotal.models.lend import lend
from pivotal.training import precision
from pivotal.training.precision import gains_by_bf16, tf32, vae_for, with_bf16


def switches():
    """Read as a host would read them: the older attributes, which its pictures depend on."""
    return torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32


@pytest.mark.parametrize("hosts", [(True, True), (False, False), (False, True)])
@pytest.mark.parametrize("allowed", [True, False, None])
def test_tf32_is_the_hosts_again_after_a_step_even_a_failed_one(hosts, allowed):
    before = switches()
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = hosts
    try:
        with pytest.raises(KeyError), tf32(allowed):
            inside = torch.backends.cuda.matmul
            seen = inside.fp32_precision == "tf32" if hasattr(torch.backends.cudnn, "conv") else inside.allow_tf32
            assert seen == (hosts[0] if allowed is None else allowed)
            raise KeyError
        assert switches() == hosts
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


@pytest.mark.parametrize(("family", "dtype", "asked", "expected"), [
    ("sdxl", torch.float16, "auto", torch.float32), ("sdxl", torch.float16, "as the host", torch.float16),
    ("sdxl", torch.bfloat16, "auto", torch.bfloat16), ("sd1", torch.float16, "auto", torch.float16),
    ("sd1", torch.float16, "fp32", torch.float32), ("sd1", torch.float32, "fp32", torch.float32)])
def test_a_vae_that_half_precision_breaks_is_computed_in_fp32_on_a_copy(family, dtype, asked, expected):
    lent = tiny.tiny_model(family)
    lent.vae.to(dtype)
    weight = next(lent.vae.parameters())
    model = vae_for(lent, asked)
    assert next(model.vae.parameters()).dtype == expected
    assert next(lent.vae.parameters()) is weight and weight.dtype == dtype
    assert (model.vae is lent.vae) == (expected == dtype) and model.unet is lent.unet


def test_the_copy_encodes_what_fp16_cannot():
    lent = tiny.tiny_model("sdxl")
    with torch.no_grad():
        for parameter in lent.vae.encoder.conv_in.parameters():
            parameter.fill_(3e4)  # activations beyond 65504, as those of SDXL's VAE
    lent.vae.half()
    pixels = torch.ones(1, 3, 64, 64)
    assert not torch.isfinite(lent.encode_images(pixels)[0]).all()
    assert torch.isfinite(vae_for(lent, "auto").encode_images(pixels)[0]).all()


CPU, LARGE = torch.device("cpu"), precision.LARGE


@pytest.mark.parametrize(("device", "weights", "size", "has", "expected"), [
    (CPU, torch.float32, LARGE, True, True), (CPU, torch.float32, LARGE, False, False),
    (CPU, torch.float32, LARGE - 1, True, False), (CPU, torch.float16, LARGE, True, False),
    (torch.device("cuda"), torch.float32, LARGE, True, False)])
def test_only_a_large_fp32_unet_on_a_processor_with_bf16_gains_by_it(monkeypatch, device, weights, size, has, expected):
    monkeypatch.setattr(precision, "processor_has_bf16", lambda: has)
    assert gains_by_bf16(device, weights, size) == expected


def test_the_lent_unet_is_fp32_again_and_the_same_after_a_run_in_bf16(monkeypatch):
    monkeypatch.setattr(precision, "gains_by_bf16", lambda *_: True)
    lent = tiny.tiny_model("sd1")
    before = {name: (tensor, tensor.data_ptr(), tensor.clone()) for name, tensor in lent.unet.named_parameters()}
    with lend([lent.unet, lent.vae, lent.text_encoders[0].module]):
        assert with_bf16(lent, "fp32").dtype == torch.float32
        model = with_bf16(lent, "auto")
        assert {tensor.dtype for tensor in model.unet.parameters()} == {torch.bfloat16}
        assert not any(tensor.requires_grad for tensor in model.unet.parameters())
        assert next(model.text_encoders[0].module.parameters()).dtype == next(model.vae.parameters()).dtype == torch.float32
    for name, tensor in lent.unet.named_parameters():
        same, place, values = before[name]
        assert tensor is same and tensor.data_ptr() == place and torch.equal(tensor, values)
