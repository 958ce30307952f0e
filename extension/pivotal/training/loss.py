"""How far a prediction is from what was wanted, and how much that counts at each timestep."""

from __future__ import annotations

import math
from typing import get_args

import torch
from torch import Tensor
from torch.nn import functional

from pivotal.config.sections.loss import Loss, LossKind
from pivotal.config.texts import between, parse_mixture, parse_points
from pivotal.models.families import Prediction

LARGEST_SNR = 1000.0  # of the debiased weight, as kohya and OneTrainer cap it
SMALLEST_SNR = 1e-8  # of schedules that end in pure noise


def losses(predicted: Tensor, wanted: Tensor, timesteps: Tensor, alphas_cumprod: Tensor, settings: Loss) -> Tensor:
    """(B, C, h, w) error at each place after `settings.kind`, or after the mixture, before any weighting, in fp32.

    Args:
        timesteps: (B,) ints. alphas_cumprod: (T,).
    """
    difference = predicted.float() - wanted.float()
    mixture = parse_mixture(settings.mix, get_args(LossKind))
    if not mixture:
        return _of_kind(settings.kind, difference, timesteps, alphas_cumprod, settings)
    return torch.stack([weight * _of_kind(kind, difference, timesteps, alphas_cumprod, settings)
                        for kind, weight in mixture.items()]).sum(dim=0)


def _of_kind(kind: str, difference: Tensor, timesteps: Tensor, alphas_cumprod: Tensor, settings: Loss) -> Tensor:
    if kind == "mse":
        return difference.square()
    size = difference.abs()
    if kind == "l1":
        return size
    if kind == "log-cosh":  # log(cosh(d)), written so that a large d does not overflow
        return size + functional.softplus(-2 * size) - math.log(2)
    c = huber_c(timesteps, alphas_cumprod, settings).view(-1, 1, 1, 1)
    if kind == "exact huber":  # d^2 / 2 up to c, a line after it (Huber 1964); OneTrainer's, with c as its delta
        return torch.where(size <= c, 0.5 * difference.square(), c * (size - 0.5 * c))
    # Pseudo-Huber: 2c (sqrt(d^2 + c^2) - c), which is about d^2 near zero; smooth L1 leaves out the c before it.
    return 2 * ((difference.square() + c * c).sqrt() - c) * (c if kind == "huber" else 1.0)


def huber_c(timesteps: Tensor, alphas_cumprod: Tensor, settings: Loss) -> Tensor:
    """(B,) c at each timestep: constant; exp(t / T x ln c), from 1 at t = 0 to c; or (1 - c) / (1 + sigma)^2 + c."""
    c = settings.huber_c
    if settings.huber_schedule == "constant":
        return torch.full(timesteps.shape, c, device=timesteps.device)
    if settings.huber_schedule == "exponential":
        return torch.exp(math.log(c) * timesteps.float() / len(alphas_cumprod))
    alpha = alphas_cumprod[timesteps]
    sigma = ((1 - alpha) / alpha).sqrt()
    return (1 - c) / (1 + sigma).square() + c


def weights(timesteps: Tensor, alphas_cumprod: Tensor, prediction: Prediction, settings: Loss) -> Tensor:
    """(B,) weight of each timestep, with SNR = a / (1 - a): the product of all that `settings` asks for.

    min-SNR: min(SNR, gamma) / SNR, for v over SNR + 1 (Hang et al. 2023, arXiv:2303.09556, 3.4). Debiased: 1 / sqrt(SNR),
    for v 1 / sqrt(SNR + 1), SNR capped at 1000 (Yu et al. 2023, arXiv:2310.08442; for v as OneTrainer, where kohya has no
    root). P2: (1 + SNR)^-gamma, for v one more (Choi et al. 2022, arXiv:2204.00227, 3.3). As for v: 1 + share x
    (SNR + 1) / SNR; scaled like noise: SNR / (SNR + 1) (kohya, library/custom_train_functions.py).
    """
    alpha = alphas_cumprod[timesteps].float()
    snr = (alpha / (1 - alpha)).clamp_min(SMALLEST_SNR)
    found = _snr_weights(snr, 1.0 if prediction == "v" else 0.0, settings)
    share = snr.clamp_max(LARGEST_SNR) / (snr.clamp_max(LARGEST_SNR) + 1)
    if settings.scale_v and prediction == "v":
        found = found * share
    if settings.v_like and prediction == "epsilon":
        found = found * (1 + settings.v_like / share)
    points = parse_points(settings.by_timestep, 1000)
    if points:
        places = (timesteps.tolist() if len(alphas_cumprod) == 1000
                  else [1000 * step / len(alphas_cumprod) for step in timesteps.tolist()])
        found = found * torch.tensor([between(points, place) for place in places], device=found.device)
    return found


def _snr_weights(snr: Tensor, v: float, settings: Loss) -> Tensor:
    if settings.weighting == "min-snr":
        return snr.clamp_max(settings.gamma) / (snr + v)
    if settings.weighting == "debiased":
        return (snr.clamp_max(LARGEST_SNR) + v).rsqrt()
    if settings.weighting == "p2":
        return (1 + snr + v) ** -settings.gamma
    return torch.ones_like(snr)
