"""At which timesteps a batch is trained."""

from __future__ import annotations

import math

import torch
from torch import Generator, Tensor

from pivotal.config.sections.loss import Timesteps


def draw_timesteps(count: int, of: int, settings: Timesteps, generator: Generator) -> Tensor:
    """(count,) ints of settings.minimum..settings.maximum-1, those of a schedule with `of` steps instead of 1000.

    A place u in 0..1 is drawn, moved by the shift, u' = s u / (1 + (s - 1) u) (Esser et al. 2024, arXiv:2403.03206,
    equation 23), and spread over the range.
    """
    low, high = (round(value * of / 1000) for value in (settings.minimum, settings.maximum))
    if settings.distribution == "uniform" and settings.shift == 1:
        return torch.randint(low, high, (count,), generator=generator)
    place = _places(count, high - low, settings, generator)
    place = settings.shift * place / (1 + (settings.shift - 1) * place)
    return (low + place * (high - low)).long().clamp(low, high - 1)


def timestep_shares(settings: Timesteps, bins: int = 50, draws: int = 50_000) -> list[float]:
    """How often each of `bins` equal spans of 0..999 is drawn, as shares that sum to 1; for a picture of the options."""
    drawn = draw_timesteps(draws, 1000, settings, Generator().manual_seed(0))
    return (torch.bincount(drawn * bins // 1000, minlength=bins) / draws).tolist()


def _places(count: int, range_: int, settings: Timesteps, generator: Generator) -> Tensor:
    """(count,) places in 0..1.

    Logit-normal: 1 / (1 + exp(-(bias + spread x normal))) (arXiv:2403.03206, equation 19). Heavy tail: their mode
    sampling, equation 20. The others by weights over the range, as OneTrainer has them.
    """
    if settings.distribution == "logit normal":
        return torch.sigmoid(settings.bias + settings.spread * torch.randn(count, generator=generator))
    if settings.distribution in ("uniform", "heavy tail"):
        even = torch.rand(count, generator=generator)
        if settings.distribution == "uniform":
            return even
        return (1 - even - settings.strength * (torch.cos(math.pi / 2 * even).square() - 1 + even)).clamp(0, 1)
    middles = (torch.arange(range_) + 0.5) / range_
    drawn = torch.multinomial(place_weights(middles, settings), count, replacement=True, generator=generator)
    return middles[drawn]


def place_weights(places: Tensor, settings: Timesteps) -> Tensor:
    """How likely each of `places` (0..1) is, up to a factor.

    Sigmoid: 1 / (1 + exp(-strength x (u - 0.5 - bias))). Inverted parabola: 2 - strength x (u - 0.5 - bias)^2, never
    below 0. Cos map: 1 / (pi (1 - 2u + 2u^2)) (arXiv:2403.03206, 3.1). Beta: u^(alpha - 1) (1 - u)^(beta - 1).
    """
    away = places - 0.5 - settings.bias
    if settings.distribution == "sigmoid":
        return torch.sigmoid(settings.strength * away)
    if settings.distribution == "inverted parabola":
        return (2 - settings.strength * away.square()).clamp_min(0)
    if settings.distribution == "cos map":
        return 1 / (math.pi * (1 - 2 * places + 2 * places.square()))
    logs = (settings.alpha - 1) * places.log() + (settings.beta - 1) * (1 - places).log()
    return (logs - logs.max()).exp()
