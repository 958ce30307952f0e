"""The kernels of attention: chosen while a step lasts, and the host's again after it."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from pivotal.training.attention import attention

CUDA = torch.backends.cuda


def switches():
    names = ["flash_sdp_enabled", "mem_efficient_sdp_enabled", "math_sdp_enabled", "cudnn_sdp_enabled"]
    return [getattr(CUDA, name)() for name in names if hasattr(CUDA, name)]


def kernels(**named):
    """Names of what computes attention over (2, 2, 8, 16), as torch's profiler sees it."""
    query = torch.randn(2, 2, 8, 16, generator=torch.Generator().manual_seed(0))
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as seen:
        answer = scaled_dot_product_attention(query, query, query, **named)
    return {event.key for event in seen.key_averages() if "_scaled_dot_product" in event.key}, answer


@pytest.mark.parametrize("flash", [True, False])
@pytest.mark.parametrize("kind", ["auto", "flash", "efficient", "math"])
def test_the_switches_are_the_hosts_again_even_after_a_failed_step(kind, flash):
    before = CUDA.flash_sdp_enabled()
    CUDA.enable_flash_sdp(flash)
    try:
        outside = switches()
        with pytest.raises(KeyError), attention(kind):
            inside = switches()
            raise KeyError
        assert switches() == outside
        assert (inside == outside) == (kind == "auto")
        assert inside[2]  # math is always there for what no other kernel takes
        if kind != "auto":
            assert inside[:2] == [kind == "flash", kind == "efficient"]
    finally:
        CUDA.enable_flash_sdp(before)


def test_each_kind_computes_by_its_kernel_and_the_same():
    found = {}
    for kind in ("flash", "efficient", "math"):
        with attention(kind):
            found[kind] = kernels()
    assert any("flash" in name for name in found["flash"][0])
    for kind in ("efficient", "math"):  # the CPU has no efficient kernel
        assert not any("flash" in name for name in found[kind][0]) and any("math" in name for name in found[kind][0])
        torch.testing.assert_close(found[kind][1], found["flash"][1], rtol=1e-5, atol=1e-6)


def test_what_a_kernel_does_not_take_is_computed_by_math():
    with attention("flash"):
        mask = torch.zeros(2, 2, 8, 8, requires_grad=True)  # flash learns no mask
        _, answer = kernels(attn_mask=mask)
    assert answer.isfinite().all()
