"""How far a prediction is from what was wanted, and how much that counts at each timestep."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from pivotal.config.sections.loss import Loss
from pivotal.models.families import Prediction

LARGEST_SNR = 1000.0  # of the debiased weight, as kohya and OneTrainer cap it
SMALLEST_SNR = 1e-8  # of schedules that end in pure noise


def errors(predicted: Tensor, wanted: Tensor) -> Tensor:
    """(B,) mean squared error of each image, in fp32."""
    return (predicted.float() - wanted.float()).square().mean(dim=(1, 2, 3))


def losses(predicted: Tensor, wanted: Tensor, timesteps: Tensor, alphas_cumprod: Tensor, settings: Loss) -> Tensor:
    """(B,) error of each image after `settings.kind`, before any weighting, in fp32.

    Args:
        timesteps: (B,) ints. alphas_cumprod: (T,).
    """
    difference = predicted.float() - wanted.float()
    if settings.kind == "mse":
        values = difference.square()
    elif settings.kind == "l1":
        values = difference.abs()
    elif settings.kind == "log-cosh":  # log(cosh(d)), written so that a large d does not overflow
        values = difference.abs() + functional.softplus(-2 * difference.abs()) - math.log(2)
    else:
        c = huber_c(timesteps, alphas_cumprod, settings).view(-1, 1, 1, 1)
        # Pseudo-Huber: 2c (sqrt(d^2 + c^2) - c), which is about d^2 near zero; smooth L1 leaves out the c before it.
        values = 2 * ((difference.square() + c * c).sqrt() - c) * (c if settings.kind == "huber" else 1.0)
    return values.mean(dim=(1, 2, 3))


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
    """(B,) weight of each timestep, with SNR = a / (1 - a).

    min-SNR: min(SNR, gamma) / SNR, for v over SNR + 1 (Hang et al. 2023, arXiv:2303.09556, 3.4). Debiased: 1 / sqrt(SNR),
    for v 1 / sqrt(SNR + 1), SNR capped at 1000 (Yu et al. 2023, arXiv:2310.08442; for v as OneTrainer, where kohya has no
    root). P2: (1 + SNR)^-gamma, for v one more (Choi et al. 2022, arXiv:2204.00227, 3.3).
    """
    alpha = alphas_cumprod[timesteps].float()
    snr = (alpha / (1 - alpha)).clamp_min(SMALLEST_SNR)
    v = 1.0 if prediction == "v" else 0.0
    if settings.weighting == "min-snr":
        return snr.clamp_max(settings.gamma) / (snr + v)
    if settings.weighting == "debiased":
        return (snr.clamp_max(LARGEST_SNR) + v).rsqrt()
    if settings.weighting == "p2":
        return (1 + snr + v) ** -settings.gamma
    return torch.ones_like(snr)
