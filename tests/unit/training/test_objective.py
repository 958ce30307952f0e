"""What is predicted, against the papers' formulas worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from pivotal.config.sections.loss import Timesteps
from pivotal.training.loss import errors
from pivotal.training.objective import add_noise, draw_timesteps, target
from pivotal.training.seeds import generator

ALPHAS = torch.tensor([0.99, 0.64, 0.04])
LATENTS, NOISE = torch.full((1, 1, 1, 1), 2.0), torch.full((1, 1, 1, 1), -3.0)


@pytest.mark.parametrize(("timestep", "noisy", "velocity"), [
    (1, 0.8 * 2 - 0.6 * 3, 0.8 * -3 - 0.6 * 2),
    (2, 0.2 * 2 - 0.96**0.5 * 3, 0.2 * -3 - 0.96**0.5 * 2)])
def test_noise_is_added_and_velocity_taken_as_the_papers_say(timestep, noisy, velocity):
    t = torch.tensor([timestep])
    assert add_noise(LATENTS, NOISE, ALPHAS, t).item() == pytest.approx(noisy, rel=1e-6)
    assert target("v", LATENTS, NOISE, ALPHAS, t).item() == pytest.approx(velocity, rel=1e-6)
    assert target("epsilon", LATENTS, NOISE, ALPHAS, t).item() == -3


def test_an_error_is_each_images_own_mean_square():
    predicted, wanted = torch.zeros(2, 4, 2, 2), torch.zeros(2, 4, 2, 2)
    wanted[1] = 3
    assert errors(predicted, wanted).tolist() == [0, 9]


def test_timesteps_cover_the_whole_range_evenly():
    counts = torch.bincount(draw_timesteps(100_000, 10, Timesteps(), generator(1, "t")), minlength=10)
    assert counts.min() > 9_500 and counts.max() < 10_500 and len(counts) == 10


def test_timesteps_keep_to_their_range_whatever_their_distribution():
    for distribution in ("uniform", "logit normal"):
        drawn = draw_timesteps(10_000, 1000, Timesteps(200, 300, distribution), generator(1, "t"))
        assert 200 <= drawn.min() < 210 and 290 < drawn.max() <= 299, distribution
    assert set(draw_timesteps(50, 1000, Timesteps(999, 1000), generator(1, "t")).tolist()) == {999}


def test_a_logit_normal_has_its_middle_where_its_bias_puts_it():
    for bias in (-1.0, 0.0, 2.0):
        drawn = draw_timesteps(20_001, 1000, Timesteps(distribution="logit normal", bias=bias, spread=0.7), generator(1, "t"))
        assert drawn.median().item() == pytest.approx(1000 / (1 + math.exp(-bias)), abs=10)


def test_generators_differ_by_purpose_place_and_seed_and_leave_the_global_one_alone():
    before = torch.get_rng_state()
    draws = {torch.randn(1, generator=generator(*key)).item()
             for key in [(1, "noise", 0), (1, "noise", 1), (1, "order", 0), (2, "noise", 0)]}
    assert len(draws) == 4 and torch.equal(torch.get_rng_state(), before)
    assert torch.randn(1, generator=generator(1, "noise", 0)).item() in draws
