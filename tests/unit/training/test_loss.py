"""Errors and their weights, against the formulas worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from pivotal.config.sections.loss import Loss
from pivotal.models.schedule import ZERO
from pivotal.training.loss import huber_c, losses, weights

ALPHAS = torch.tensor([0.99, 0.64, 0.04])  # SNR 99, 16 / 9, 1 / 24
ALL = torch.arange(3)


def loss_of(distance, timestep=1, **settings):
    predicted = torch.zeros(1, 1, 1, 2)
    wanted = torch.tensor([distance, 0.0]).view(1, 1, 1, 2)
    return losses(predicted, wanted, torch.tensor([timestep]), ALPHAS, Loss(**settings)).flatten()[0].item()


@pytest.mark.parametrize(("settings", "expected"), [
    ({"kind": "mse"}, 9.0), ({"kind": "l1"}, 3.0), ({"kind": "log-cosh"}, math.log(math.cosh(3))),
    ({"kind": "huber", "huber_c": 0.5, "huber_schedule": "constant"}, 2 * 0.5 * (math.sqrt(9 + 0.25) - 0.5)),
    ({"kind": "smooth l1", "huber_c": 0.5, "huber_schedule": "constant"}, 2 * (math.sqrt(9 + 0.25) - 0.5)),
    ({"kind": "exact huber", "huber_c": 0.5, "huber_schedule": "constant"}, 0.5 * (3 - 0.25)),
    ({"kind": "exact huber", "huber_c": 4.0, "huber_schedule": "constant"}, 4.5),
    ({"mix": "mse 0.7, l1 0.3"}, 0.7 * 9 + 0.3 * 3), ({"kind": "l1", "mix": "log-cosh 2"}, 2 * math.log(math.cosh(3)))])
def test_each_kind_is_its_formula(settings, expected):
    assert loss_of(-3.0, **settings) == pytest.approx(expected, rel=1e-5)


def test_log_cosh_does_not_overflow_and_huber_is_square_near_zero():
    assert loss_of(200.0, kind="log-cosh") == pytest.approx(200 - math.log(2), rel=1e-5)
    assert loss_of(0.01, kind="huber", huber_c=1.0, huber_schedule="constant") == pytest.approx(1e-4, rel=5e-3)


def test_hubers_c_follows_its_schedule():
    # snr: (1 - c) / (1 + sigma)^2 + c; sigma at 0.64 is 0.75, at 0.04 sqrt(24). exponential: c^(t / T).
    snr = huber_c(ALL, ALPHAS, Loss(huber_c=0.1, huber_schedule="snr"))
    assert snr[1:].tolist() == pytest.approx([0.9 / 1.75**2 + 0.1, 0.9 / (1 + 24**0.5) ** 2 + 0.1], rel=1e-5)
    exponential = huber_c(ALL, ALPHAS, Loss(huber_c=0.1, huber_schedule="exponential"))
    assert exponential.tolist() == pytest.approx([1.0, 0.1 ** (1 / 3), 0.1 ** (2 / 3)], rel=1e-5)


@pytest.mark.parametrize(("weighting", "gamma", "prediction", "expected"), [
    ("none", 5, "epsilon", [1, 1, 1]), ("min-snr", 5, "epsilon", [5 / 99, 1, 1]),
    ("min-snr", 5, "v", [5 / 100, 16 / 25, 1 / 25]),
    ("debiased", 5, "epsilon", [99**-0.5, 0.75, 24**0.5]), ("debiased", 5, "v", [0.1, 0.6, (25 / 24) ** -0.5]),
    ("p2", 1, "epsilon", [1 / 100, 9 / 25, 24 / 25]), ("p2", 0.5, "v", [101**-0.5, (9 / 34) ** 0.5, (24 / 49) ** 0.5])])
def test_weights_are_those_of_the_papers(weighting, gamma, prediction, expected):
    found = weights(ALL, ALPHAS, prediction, Loss(weighting=weighting, gamma=gamma))
    assert found.tolist() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("weighting", ["none", "min-snr", "debiased", "p2"])
@pytest.mark.parametrize("alpha", [0.0, ZERO, 0.9999999])
def test_no_weight_is_infinite_where_nothing_or_all_of_the_image_is_left(weighting, alpha):
    found = weights(torch.tensor([0]), torch.tensor([alpha]), "v", Loss(weighting=weighting))
    assert torch.isfinite(found).all() and found.min() >= 0


@pytest.mark.parametrize(("settings", "prediction", "expected"), [
    # kohya's get_snr_scale: SNR / (SNR + 1), which is the cumulative alpha itself.
    ({"scale_v": True}, "v", [0.99, 0.64, 0.04]), ({"scale_v": True}, "epsilon", [1, 1, 1]),
    ({"v_like": 0.5}, "epsilon", [1 + 0.5 / 0.99, 1 + 0.5 / 0.64, 1 + 0.5 / 0.04]), ({"v_like": 0.5}, "v", [1, 1, 1]),
    ({"weighting": "min-snr", "scale_v": True}, "v", [0.99 * 5 / 100, 0.64 * 16 / 25, 0.04 / 25])])
def test_v_and_noise_are_weighed_like_each_other_when_asked(settings, prediction, expected):
    assert weights(ALL, ALPHAS, prediction, Loss(**settings)).tolist() == pytest.approx(expected, rel=1e-4)


def test_weights_of_ones_own_lie_on_lines_between_the_points():
    alphas = torch.linspace(0.99, 0.01, 1000)
    found = weights(torch.tensor([0, 100, 250, 500, 750, 999]), alphas, "epsilon", Loss(by_timestep="100:1, 500:0.5, 750:0"))
    assert found.tolist() == pytest.approx([1, 1, 1 - 0.5 * 150 / 400, 0.5, 0, 0])
