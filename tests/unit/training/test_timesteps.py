"""How often each timestep is drawn, against the distributions' own formulas."""

from __future__ import annotations

import math

import pytest
import torch

from pivotal.config.sections.loss import Timesteps
from pivotal.training.seeds import generator
from pivotal.training.timesteps import draw_timesteps, timestep_shares

COUNT = 200_000


def test_timesteps_cover_the_whole_range_evenly():
    counts = torch.bincount(draw_timesteps(100_000, 10, Timesteps(), generator(1, "t")), minlength=10)
    assert counts.min() > 9_500 and counts.max() < 10_500 and len(counts) == 10


def test_timesteps_keep_to_their_range_whatever_their_distribution():
    for distribution in ("uniform", "logit normal", "sigmoid", "heavy tail", "cos map", "inverted parabola", "beta"):
        drawn = draw_timesteps(10_000, 1000, Timesteps(200, 300, distribution), generator(1, "t"))
        assert 200 <= drawn.min() < 210 and 290 < drawn.max() <= 299, distribution
    assert set(draw_timesteps(50, 1000, Timesteps(999, 1000), generator(1, "t")).tolist()) == {999}


def test_a_logit_normal_has_its_middle_where_its_bias_puts_it():
    for bias in (-1.0, 0.0, 2.0):
        drawn = draw_timesteps(20_001, 1000, Timesteps(distribution="logit normal", bias=bias, spread=0.7), generator(1, "t"))
        assert drawn.median().item() == pytest.approx(1000 / (1 + math.exp(-bias)), abs=10)


def shares_of(**settings):
    """How often each tenth of the range is drawn."""
    drawn = draw_timesteps(COUNT, 1000, Timesteps(**settings), generator(1, "t"))
    return (torch.bincount(drawn // 100, minlength=10) / COUNT).tolist()


def integrated(density):
    """The same of a density on 0..1, by a sum over 100,000 places."""
    places = [(index + 0.5) / 100_000 for index in range(100_000)]
    values = [density(place) for place in places]
    return [sum(values[10_000 * tenth:10_000 * (tenth + 1)]) / sum(values) for tenth in range(10)]


@pytest.mark.parametrize(("settings", "density"), [
    ({"distribution": "sigmoid", "strength": 8, "bias": 0.1}, lambda u: 1 / (1 + math.exp(-8 * (u - 0.6)))),
    ({"distribution": "inverted parabola", "strength": 10, "bias": -0.2}, lambda u: max(2 - 10 * (u - 0.3) ** 2, 0)),
    ({"distribution": "cos map"}, lambda u: 2 / (math.pi - 2 * math.pi * u + 2 * math.pi * u * u)),
    ({"distribution": "beta", "alpha": 2, "beta": 5}, lambda u: u * (1 - u) ** 4),
    ({"distribution": "beta", "alpha": 0.5, "beta": 0.5}, lambda u: (u * (1 - u)) ** -0.5)])
def test_each_distribution_has_its_density(settings, density):
    assert shares_of(**settings) == pytest.approx(integrated(density), abs=0.005)


def test_a_heavy_tail_is_the_papers_map_of_even_places():
    # f(u) = 1 - u - s (cos^2(pi u / 2) - 1 + u): the share below f(u) of a falling map is 1 - u.
    drawn = draw_timesteps(COUNT, 1000, Timesteps(distribution="heavy tail", strength=1.2), generator(1, "t"))
    for u in (0.1, 0.3, 0.5, 0.8):
        place = 1 - u - 1.2 * (math.cos(math.pi / 2 * u) ** 2 - 1 + u)
        assert (drawn < 1000 * place).float().mean().item() == pytest.approx(1 - u, abs=0.005)


@pytest.mark.parametrize("shift", [0.5, 3.0])
def test_a_shift_moves_the_middle_as_the_paper_says(shift):
    drawn = draw_timesteps(COUNT, 1000, Timesteps(shift=shift), generator(1, "t"))
    assert drawn.median().item() == pytest.approx(1000 * shift * 0.5 / (1 + (shift - 1) * 0.5), abs=5)


def test_the_shares_for_a_picture_are_those_that_are_drawn():
    settings = Timesteps(distribution="sigmoid", strength=8)
    assert sum(timestep_shares(settings, 10)) == pytest.approx(1)
    assert timestep_shares(settings, 10) == pytest.approx(shares_of(distribution="sigmoid", strength=8), abs=0.01)
