"""What is compared with what: timesteps, noise, and how far off a prediction counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pivotal.config.options import option

_CURVED = ("huber", "smooth l1")


@dataclass(frozen=True)
class Loss:
    """How far off a prediction is, and how much each timestep counts."""

    kind: Literal["mse", "l1", "huber", "smooth l1", "log-cosh"] = option(
        "mse", "Measures errors: squared, absolute, or squared near zero and absolute far out, which outliers sway less.",
        label="Loss", ss="ss_loss_type")
    huber_c: float = option(0.1, "Where Huber and smooth L1 turn from squared to absolute.", above=0, le=10, label="Huber c",
                            ss="ss_huber_c", shown_when=("loss.kind", _CURVED))
    huber_schedule: Literal["snr", "exponential", "constant"] = option(
        "snr", "How c changes with the timestep: with the signal's share, exponentially down to c, or not at all.",
        ss="ss_huber_schedule", shown_when=("loss.kind", _CURVED), source="kohya, library/train_util.py")
    weighting: Literal["none", "min-snr", "debiased", "p2"] = option(
        "none", "Weighs timesteps. Min-SNR caps the weight of nearly clean ones and often learns in fewer steps.",
        label="Timestep weighting",
        source="arXiv:2303.09556, arXiv:2310.08442, arXiv:2204.00227")
    gamma: float = option(5.0, "Gamma of min-SNR (5 in the paper, smaller is stronger) or of P2 (1 in the paper).", above=0,
                          le=20, ss="ss_min_snr_gamma", shown_when=("loss.weighting", ("min-snr", "p2")))


@dataclass(frozen=True)
class Noise:
    """The noise that is put on the latents."""

    offset: float = option(
        0.0, "Adds noise that is constant over each channel, so that very dark and very bright images are learned.", ge=0,
        le=1, label="Noise offset", ss="ss_noise_offset", source="crosslabs.org/blog/diffusion-with-offset-noise")
    offset_random: bool = option(False, "Draws the offset's strength anew for each batch, up to the value.",
                                 label="Random offset strength", ss="ss_noise_offset_random_strength")
    adaptive_scale: float = option(0.0, "Adds so many times each channel's mean brightness to the offset's strength.",
                                   ge=-1, le=1, label="Adaptive noise scale", ss="ss_adaptive_noise_scale")
    multires_iterations: int = option(0, "Adds noise of ever coarser grain, so many times (pyramid noise); 6 is usual.", ge=0,
                                      le=64, label="Multires iterations", ss="ss_multires_noise_iterations")
    multires_discount: float = option(0.3, "Strength of each coarser grain over the finer one.", ge=0, le=1,
                                      label="Multires discount", ss="ss_multires_noise_discount")
    input_perturbation: float = option(0.0, "Adds noise to what the model sees and not to what it shall find; 0.1 is usual.",
                                       ge=0, le=1, ss="ss_ip_noise_gamma", source="arXiv:2301.11706")


@dataclass(frozen=True)
class Timesteps:
    """Which timesteps are trained, 0 (clean) to 1000 (noise)."""

    minimum: int = option(0, "First timestep that is trained.", ge=0, le=999, label="First timestep")
    maximum: int = option(1000, "Timesteps below this one are trained.", ge=1, le=1000, label="Last timestep")
    distribution: Literal["uniform", "logit normal"] = option(
        "uniform", "How often each is drawn: all alike, or those near a middle more often.", source="arXiv:2403.03206, 3.1")
    bias: float = option(0.0, "Middle of the logit-normal: below 0 cleaner, above 0 noisier timesteps.", ge=-5, le=5,
                         shown_when=("timesteps.distribution", ("logit normal",)))
    spread: float = option(1.0, "Width of the logit-normal.", above=0, le=10,
                           shown_when=("timesteps.distribution", ("logit normal",)))
