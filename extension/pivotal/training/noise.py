"""The noise of a batch: plain, with an offset, of several grains."""

from __future__ import annotations

import torch
from torch import Generator, Tensor
from torch.nn import functional

from pivotal.config.sections.loss import Noise


def draw_noise(latents: Tensor, settings: Noise, generator: Generator) -> Tensor:
    """(B, C, h, w) noise for `latents`, fp32 on the CPU; the offset first and the coarser grains after, as kohya has it."""
    noise = torch.randn(latents.shape, generator=generator)
    if settings.offset or settings.adaptive_scale:
        noise = noise + offset_noise(latents, settings, generator)
    if settings.multires_iterations:
        noise = multires_noise(noise, settings.multires_iterations, settings.multires_discount, generator)
    return noise


def offset_noise(latents: Tensor, settings: Noise, generator: Generator) -> Tensor:
    """(B, C, 1, 1): a constant per image and channel, by which mean brightness is learned.

    Its deviation is `offset`, or a share of it drawn for the batch, plus `adaptive_scale` x |mean of the channel|, and
    never below zero (kohya, library/custom_train_functions.py).
    """
    strength: Tensor | float = settings.offset
    if settings.offset_random:
        strength = settings.offset * torch.rand((), generator=generator)
    if settings.adaptive_scale:
        mean = latents.float().cpu().mean(dim=(2, 3), keepdim=True).abs()
        strength = (strength + settings.adaptive_scale * mean).clamp_min(0)
    return strength * torch.randn(*latents.shape[:2], 1, 1, generator=generator)


def multires_noise(noise: Tensor, iterations: int, discount: float, generator: Generator) -> Tensor:
    """`noise` with noise of coarser grain added, brought back to deviation 1.

    Grain i has side 1 / r^i of the whole, r drawn from 2..4, and strength discount^i; it ends at one pixel. The first
    is as fine as the noise itself (Whitaker's pyramid noise; kohya, library/custom_train_functions.py).
    """
    height, width = noise.shape[-2:]
    for index in range(iterations):
        ratio = (2 + 2 * torch.rand((), generator=generator).item()) ** index
        sides = max(1, int(height / ratio)), max(1, int(width / ratio))
        grain = torch.randn(*noise.shape[:2], *sides, generator=generator)
        noise = noise + functional.interpolate(grain, size=(height, width), mode="bilinear") * discount**index
        if 1 in sides:
            break
    return noise / noise.std()


def perturbed(noise: Tensor, gamma: float, generator: Generator) -> Tensor:
    """What the model sees in place of `noise`, which stays what it shall find (Ning et al. 2023, arXiv:2301.11706, 4)."""
    if not gamma:
        return noise
    return noise + gamma * torch.randn(noise.shape, generator=generator)
