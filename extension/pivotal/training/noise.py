"""The noise of a batch: plain, with an offset, of several grains."""

from __future__ import annotations

import torch
from torch import Generator, Tensor
from torch.nn import functional

from pivotal.config.sections.loss import Noise
from pivotal.models.schedule import ZERO


def draw_noise(latents: Tensor, settings: Noise, generator: Generator, shares: Tensor | None = None) -> Tensor:
    """(B, C, h, w) noise for `latents`, fp32 on the CPU; the offset first and the coarser grains after, as kohya has it.

    Args:
        shares: (B,) of `offset_shares` at each image's timestep, where the offset depends on it.
    """
    noise = torch.randn(latents.shape, generator=generator)
    if settings.offset or settings.adaptive_scale:
        offset = offset_noise(latents, settings, generator)
        noise = noise + (offset if shares is None else offset * shares.view(-1, 1, 1, 1))
    if settings.multires_iterations:
        noise = multires_noise(noise, settings.multires_iterations, settings.multires_discount, generator)
    return perturbed(noise, settings.perturbation, generator)


def offset_shares(alphas_cumprod: Tensor) -> Tensor:
    """(T,) how much of the offset each timestep gets: psi_t of a diffusion whose noise has an offset, 1 at the last.

    gamma_1 = 1 and gamma_t = C_t x sum over i < t of gamma_i / sqrt(A_{i-1}), with A the cumulative alphas, A_0 = 1 and
    C_t = (1 - a_t) sqrt(A_{t-1}) / (a_t (1 - A_{t-1})); psi_t is the sum up to t over sqrt(1 - A_t), over the last one's
    (arXiv:2412.03134, algorithm 1 and equation 22; OneTrainer has it so).
    """
    after = alphas_cumprod.cpu().double().clamp_min(ZERO)  # of a schedule that ends in pure noise
    before = torch.cat([torch.ones(1, dtype=torch.float64), after[:-1]])
    alpha = after / before
    total, sums = 0.0, []
    for index in range(len(after)):
        previous = before[index]
        c = 0.0 if index == 0 else (1 - alpha[index]) * previous.sqrt() / (alpha[index] * (1 - previous))
        gamma = 1.0 if index == 0 else c * total
        total = total + gamma / previous.sqrt()
        sums.append(torch.as_tensor(total, dtype=torch.float64))
    shares = torch.stack(sums) / (1 - after).sqrt()
    return (shares / shares[-1]).float()


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
