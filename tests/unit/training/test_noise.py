"""Noise of other kinds than plain, by what statistics says of it."""

from __future__ import annotations

import pytest
import torch

from pivotal.config.sections.loss import Noise
from pivotal.training.noise import draw_noise, multires_noise, offset_noise, offset_shares, perturbed
from pivotal.training.seeds import generator

LATENTS = torch.zeros(400, 4, 16, 16)


def drawn(latents=LATENTS, **settings):
    return draw_noise(latents, Noise(**settings), generator(1, "noise"))


def test_without_options_it_is_plain_noise_of_the_same_draw():
    assert torch.equal(drawn(), torch.randn(LATENTS.shape, generator=generator(1, "noise")))


def test_an_offset_moves_each_channels_mean_and_nothing_else():
    noise = drawn(offset=0.5)
    assert noise.mean(dim=(2, 3)).var().item() == pytest.approx(0.5**2 + 1 / 256, rel=0.1)
    assert (noise - noise.mean(dim=(2, 3), keepdim=True)).var().item() == pytest.approx(1.0, rel=0.02)


def test_a_random_offset_is_smaller_on_the_whole_and_one_for_a_batch():
    strengths = [offset_noise(LATENTS, Noise(offset=1.0, offset_random=True), generator(1, "noise", place)).std().item()
                 for place in range(40)]
    assert max(strengths) <= 1.1 and 0.35 < sum(strengths) / 40 < 0.65


def test_an_adaptive_offset_follows_brightness_and_never_turns_round():
    latents = torch.zeros(300, 2, 4, 4)
    latents[:, 1] = -2.0
    noise = offset_noise(latents, Noise(offset=0.5, adaptive_scale=0.25), generator(1, "noise"))
    assert noise[:, 0].std().item() == pytest.approx(0.5, rel=0.15) and noise[:, 1].std().item() == pytest.approx(1.0, rel=0.15)
    assert not offset_noise(latents, Noise(offset=0.1, adaptive_scale=-1), generator(1, "noise"))[:, 1].any()


def test_coarser_grains_add_low_frequencies_and_keep_the_deviation():
    noise = drawn(multires_iterations=6, multires_discount=0.8)
    assert noise.std().item() == pytest.approx(1.0, rel=1e-3)
    neighbours = (noise[..., 1:] * noise[..., :-1]).mean().item()
    assert neighbours > 0.15 and abs((drawn()[..., 1:] * drawn()[..., :-1]).mean().item()) < 0.01
    small = multires_noise(torch.randn(2, 4, 1, 1, generator=generator(1, "x")), 6, 0.3, generator(1, "y"))
    assert torch.isfinite(small).all()


def test_a_perturbed_input_has_more_noise_than_the_target():
    noise = drawn()
    seen = perturbed(noise, 0.5, generator(2, "noise"))
    assert (seen - noise).std().item() == pytest.approx(0.5, rel=0.02)
    assert perturbed(noise, 0.0, generator(2, "noise")) is noise


def test_a_perturbation_of_both_is_in_the_noise_itself():
    assert (drawn(perturbation=0.5) - drawn()).std().item() == pytest.approx(0.5, rel=0.02)


def test_a_generalized_offset_grows_with_the_timestep_as_the_papers_sums_do():
    # Algorithm 1 of arXiv:2412.03134 worked out for three steps, alphas 0.9, 0.8, 0.5, so A = 0.9, 0.72, 0.36.
    a, big = [0.9, 0.8, 0.5], [1.0, 0.9, 0.72, 0.36]
    gammas = [1.0]
    for t in (1, 2):
        c = (1 - a[t]) * big[t] ** 0.5 / (a[t] * (1 - big[t]))
        gammas.append(c * sum(gamma / big[i] ** 0.5 for i, gamma in enumerate(gammas)))
    sums = [sum(gammas[i] / big[i] ** 0.5 for i in range(t + 1)) / (1 - big[t + 1]) ** 0.5 for t in range(3)]
    found = offset_shares(torch.tensor(big[1:]))
    assert found.tolist() == pytest.approx([value / sums[2] for value in sums], rel=1e-5) and found[2] == 1
    pure = offset_shares(torch.tensor([0.9, 0.5, 0.0]))  # as some hosts end a schedule in pure noise
    assert torch.isfinite(pure).all() and pure[2] == 1
    shares = torch.linspace(0, 1, len(LATENTS))
    noise = draw_noise(LATENTS, Noise(offset=0.5), generator(1, "noise"), shares)
    assert torch.equal(noise[0], drawn()[0])
    assert torch.equal(noise[-1], drawn(offset=0.5)[-1])
