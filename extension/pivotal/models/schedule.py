"""How much of an image is left at each timestep, and what a run may say instead of the checkpoint."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from pivotal.errors import OptionError
from pivotal.models.diffusion import DiffusionModel
from pivotal.models.families import Prediction

# Not quite zero, so that every sigma stays finite: the value that AUTOMATIC1111 1.10.1 samples with (sd_models.py).
ZERO = 4.8973451890853435e-08


def ddpm_schedule() -> Tensor:
    """(1000,) fp32 cumulative alphas of SD's "scaled linear" schedule, 0.00085 to 0.012 (Rombach et al. 2022)."""
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    return torch.cumprod(1 - betas, 0).float()


def to_zero_terminal_snr(alphas_cumprod: Tensor) -> Tensor:
    """(T,) the schedule with nothing left of the image at its end (Lin et al. 2023, arXiv:2305.08891, algorithm 1).

    The square roots are shifted so that the last is zero, and scaled so that the first is what it was; unlike the
    paper's, the last value is `ZERO`. A schedule that ends so already stays as it is.
    """
    if ends_at_zero(alphas_cumprod):
        return alphas_cumprod
    roots = alphas_cumprod.double().sqrt()
    rescaled = ((roots - roots[-1]) * roots[0] / (roots[0] - roots[-1])).square()
    rescaled[-1] = ZERO
    return rescaled.to(alphas_cumprod.dtype)


def ends_at_zero(alphas_cumprod: Tensor) -> bool:
    """Whether the schedule's last step is pure noise; the usual one leaves 0.0047 of the image's variance."""
    return bool(alphas_cumprod[-1] < 1e-6)


def overridden(model: DiffusionModel, *, prediction: Prediction | None = None, zero_terminal_snr: bool | None = None,
               clip_skip: int | None = None) -> DiffusionModel:
    """`model` with what is not None instead of what its host says of it; the modules are the same.

    Raises:
        OptionError: a text encoder has fewer layers than `clip_skip` leaves out.
    """
    alphas = model.alphas_cumprod
    if zero_terminal_snr is True:
        alphas = to_zero_terminal_snr(alphas)
    elif zero_terminal_snr is False and ends_at_zero(alphas):
        alphas = ddpm_schedule()
    if clip_skip is not None:
        _check_clip_skip(model, clip_skip)
    return replace(model, alphas_cumprod=alphas, prediction=prediction or model.prediction,
                   clip_skip=model.clip_skip if clip_skip is None else clip_skip)


def _check_clip_skip(model: DiffusionModel, clip_skip: int) -> None:
    for encoder in model.text_encoders:
        layers = encoder.module.config.num_hidden_layers
        if encoder.rules.clip_skip and encoder.rules.layer + clip_skip - 1 > layers:
            raise OptionError({"objective.clip_skip": f"{clip_skip} leaves out more layers than the checkpoint's text "
                                                      f"encoder has; {layers + 1 - encoder.rules.layer} is the most."})
