"""The noise schedules, and what a run may say instead of its host."""

from __future__ import annotations

import pytest
import torch
from diffusers import DDPMScheduler

import tiny
from pivotal.errors import OptionError
from pivotal.models.generate import conditioning_for
from pivotal.models.schedule import ddpm_schedule, ends_at_zero, overridden, to_zero_terminal_snr


@pytest.fixture(scope="module")
def sd1():
    return tiny.tiny_model("sd1")


def test_the_schedule_has_the_published_ends():
    """diffusers' scaled_linear and ldm's make_beta_schedule('linear') both give these."""
    schedule = ddpm_schedule()
    assert schedule.shape == (1000,)
    assert schedule[0].item() == pytest.approx(1 - 0.00085, abs=1e-7)
    assert schedule[-1].item() == pytest.approx(0.004660099, rel=1e-5)


def test_zero_terminal_snr_is_diffusers_except_at_the_end():
    reference = DDPMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear",
                              rescale_betas_zero_snr=True).alphas_cumprod
    found = to_zero_terminal_snr(ddpm_schedule())
    torch.testing.assert_close(found[:-1], reference[:-1], rtol=1e-3, atol=1e-6)
    assert (reference[-1], found[-1].item()) == (0, pytest.approx(4.8973451890853435e-08))
    assert torch.equal(to_zero_terminal_snr(found), found)
    assert not ends_at_zero(ddpm_schedule())


def test_what_is_left_empty_is_the_hosts(sd1):
    same = overridden(sd1)
    assert (same.prediction, same.clip_skip, same.unet) == (sd1.prediction, 1, sd1.unet)
    assert torch.equal(same.alphas_cumprod, sd1.alphas_cumprod)


def test_what_is_said_outranks_the_host(sd1):
    said = overridden(sd1, prediction="v", zero_terminal_snr=True, clip_skip=2)
    assert (said.prediction, said.clip_skip, ends_at_zero(said.alphas_cumprod)) == ("v", 2, True)
    back = overridden(said, zero_terminal_snr=False, clip_skip=1)
    assert torch.equal(back.alphas_cumprod, ddpm_schedule())
    earlier, usual = conditioning_for(said, "a red circle").hidden, conditioning_for(back, "a red circle").hidden
    assert torch.equal(earlier, conditioning_for(sd1, "a red circle", clip_skip=2).hidden)
    assert not torch.allclose(earlier, usual)


def test_more_skipped_layers_than_there_are_is_refused(sd1):
    overridden(sd1, clip_skip=2)
    with pytest.raises(OptionError) as caught:
        overridden(sd1, clip_skip=4)
    assert "2 is the most" in caught.value.problems["objective.clip_skip"]
    assert overridden(tiny.tiny_model("sdxl"), clip_skip=12).clip_skip == 12  # it skips none there
