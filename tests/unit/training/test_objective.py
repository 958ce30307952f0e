"""What is predicted, against the papers' formulas worked out by hand."""

from __future__ import annotations

import pytest
import torch

from pivotal.training.objective import add_noise, target
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


def test_generators_differ_by_purpose_place_and_seed_and_leave_the_global_one_alone():
    before = torch.get_rng_state()
    draws = {torch.randn(1, generator=generator(*key)).item()
             for key in [(1, "noise", 0), (1, "noise", 1), (1, "order", 0), (2, "noise", 0)]}
    assert len(draws) == 4 and torch.equal(torch.get_rng_state(), before)
    assert torch.randn(1, generator=generator(1, "noise", 0)).item() in draws
