"""What the model shall predict, at which timesteps."""

from __future__ import annotations

import torch
from torch import Tensor

from pivotal.config.sections.loss import Timesteps
from pivotal.models.families import Prediction


def add_noise(latents: Tensor, noise: Tensor, alphas_cumprod: Tensor, timesteps: Tensor) -> Tensor:
    """sqrt(a_t) x latents + sqrt(1 - a_t) x noise (Ho et al. 2020, arXiv:2006.11239, equation 4).

    Args:
        latents, noise: (B, C, h, w).
        alphas_cumprod: (T,) fp32.
        timesteps: (B,) ints 0..T-1.
    """
    alpha = alphas_cumprod[timesteps].view(-1, 1, 1, 1)
    return alpha.sqrt() * latents + (1 - alpha).sqrt() * noise


def target(prediction: Prediction, latents: Tensor, noise: Tensor, alphas_cumprod: Tensor,
           timesteps: Tensor) -> Tensor:
    """The noise, or the velocity sqrt(a_t) x noise - sqrt(1 - a_t) x latents (Salimans and Ho 2022, arXiv:2202.00512,
    appendix D)."""
    if prediction == "epsilon":
        return noise
    alpha = alphas_cumprod[timesteps].view(-1, 1, 1, 1)
    return alpha.sqrt() * noise - (1 - alpha).sqrt() * latents


def draw_timesteps(count: int, of: int, settings: Timesteps, generator: torch.Generator) -> Tensor:
    """(count,) ints of settings.minimum..settings.maximum-1, those of a schedule with `of` steps instead of 1000.

    Uniform; or by a logit-normal u = 1 / (1 + exp(-(bias + spread x normal))) over the range, so that a bias above 0 draws
    noisier ones (Esser et al. 2024, arXiv:2403.03206, equation 19).
    """
    low, high = (round(value * of / 1000) for value in (settings.minimum, settings.maximum))
    if settings.distribution == "uniform":
        return torch.randint(low, high, (count,), generator=generator)
    place = torch.sigmoid(settings.bias + settings.spread * torch.randn(count, generator=generator))
    return (low + place * (high - low)).long().clamp(low, high - 1)
