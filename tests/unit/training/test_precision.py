"""Number formats: what is switched for a run is switched back, and the lent VAE stays as it was."""

from __future__ import annotations

import pytest
import torch

import tiny
from pivotal.training.precision import tf32, vae_for


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
