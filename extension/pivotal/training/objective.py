"""What the model shall predict."""

from __future__ import annotations

from torch import Tensor

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
