"""What is compared with what: timesteps, noise, and how far off a prediction counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pivotal.config.options import option

LossKind = Literal["mse", "l1", "huber", "smooth l1", "exact huber", "log-cosh"]
_BIASED = ("logit normal", "sigmoid", "inverted parabola")
_STRENGTH = ("sigmoid", "heavy tail", "inverted parabola")
_BETA = ("timesteps.distribution", ("beta",))


@dataclass(frozen=True)
class Loss:
    """How far off a prediction is, and how much each timestep counts."""

    kind: LossKind = option(
        "mse", "Measures errors: squared, absolute, or squared near zero and absolute far out, which outliers sway less.",
        label="Loss", ss="ss_loss_type")
    mix: str = option("", "Several kinds at once, each with its weight: mse 0.7, l1 0.3. Empty takes the one above.",
                      label="Loss mixture")
    huber_c: float = option(0.1, "Where Huber and smooth L1 turn from squared to absolute.", above=0, le=10, label="Huber c",
                            ss="ss_huber_c")
    huber_schedule: Literal["snr", "exponential", "constant"] = option(
        "snr", "How c changes with the timestep: with the signal's share, exponentially down to c, or not at all.",
        ss="ss_huber_schedule", source="kohya, library/train_util.py")
    weighting: Literal["none", "min-snr", "debiased", "p2"] = option(
        "none", "Weighs timesteps. Min-SNR caps the weight of nearly clean ones and often learns in fewer steps.",
        label="Timestep weighting",
        source="arXiv:2303.09556, arXiv:2310.08442, arXiv:2204.00227")
    gamma: float = option(5.0, "Gamma of min-SNR (5 in the paper, smaller is stronger) or of P2 (1 in the paper).", above=0,
                          le=20, ss="ss_min_snr_gamma", shown_when=("loss.weighting", ("min-snr", "p2")))
    by_timestep: str = option(
        "", "Weights of your own: timestep:weight, lines between them, such as 0:1, 500:0.5, 1000:1. Empty is 1 everywhere.",
        label="Weights by timestep")
    v_like: float = option(
        0.0, "Weighs timesteps of a model that predicts noise as if it predicted velocity, this much of it; 0 is off.", ge=0,
        le=1, label="Loss as for v", ss="ss_v_pred_like_loss", source="kohya, library/custom_train_functions.py")
    scale_v: bool = option(
        False, "Weighs timesteps of a model that predicts velocity as if it predicted noise.", label="Scale v like noise",
        ss="ss_scale_v_pred_loss_like_noise_pred", source="kohya, library/custom_train_functions.py")


@dataclass(frozen=True)
class Noise:
    """The noise that is put on the latents."""

    offset: float = option(
        0.0, "Adds noise that is constant over each channel, so that very dark and very bright images are learned.", ge=0,
        le=1, label="Noise offset", ss="ss_noise_offset", source="crosslabs.org/blog/diffusion-with-offset-noise")
    offset_random: bool = option(False, "Draws the offset's strength anew for each batch, up to the value.",
                                 label="Random offset strength", ss="ss_noise_offset_random_strength",
                                void_when=(("noise.offset", (0.0,), "The noise offset is 0."),))
    offset_by_timestep: bool = option(
        False, "Gives noisier timesteps more of the offset, as if the offset were a diffusion of its own.",
        label="Generalized offset", source="arXiv:2412.03134, algorithm 1")
    adaptive_scale: float = option(0.0, "Adds each channel's mean brightness, times this, to the offset's strength.",
                                   ge=-1, le=1, label="Adaptive noise scale", ss="ss_adaptive_noise_scale")
    multires_iterations: int = option(0, "Adds ever coarser noise this many times (pyramid noise); 6 is usual.", ge=0,
                                      le=64, label="Multires iterations", ss="ss_multires_noise_iterations")
    multires_discount: float = option(0.3, "Strength of each coarser grain over the finer one.", ge=0, le=1,
                                      label="Multires discount", ss="ss_multires_noise_discount",
                                     void_when=(("noise.multires_iterations", (0,), "There are no multires iterations."),))
    perturbation: float = option(0.0, "Adds noise both to what the model sees and to what it should find.", ge=0, le=1,
                                 source="OneTrainer, perturbation noise weight")
    input_perturbation: float = option(0.0, "Adds noise to what the model sees and not to what it should find; 0.1 is usual.",
                                       ge=0, le=1, ss="ss_ip_noise_gamma", source="arXiv:2301.11706")


@dataclass(frozen=True)
class Timesteps:
    """Which timesteps are trained, 0 (clean) to 1000 (noise)."""

    minimum: int = option(0, "First timestep that is trained.", ge=0, le=999, label="First timestep")
    maximum: int = option(1000, "Timesteps below this one are trained.", ge=1, le=1000, label="Last timestep")
    distribution: Literal["uniform", "logit normal", "sigmoid", "heavy tail", "cos map", "inverted parabola", "beta"] = option(
        "uniform", "How often each is drawn: all alike, more often near a middle, or more often the noisy or the clean ones.",
        source="arXiv:2403.03206, 3.1; OneTrainer")
    bias: float = option(0.0, "Moves the middle: below 0 cleaner, above 0 noisier timesteps.", ge=-5, le=5,
                         shown_when=("timesteps.distribution", _BIASED))
    spread: float = option(1.0, "Width of the logit-normal.", above=0, le=10,
                           shown_when=("timesteps.distribution", ("logit normal",)))
    strength: float = option(1.0, "How far from even: steepness of the sigmoid, weight of the tail, bend of the parabola.",
                             ge=-20, le=20, shown_when=("timesteps.distribution", _STRENGTH))
    alpha: float = option(2.0, "Alpha of the beta distribution: above beta it draws noisier timesteps.", above=0, le=20,
                          shown_when=_BETA)
    beta: float = option(2.0, "Beta of the beta distribution.", above=0, le=20, shown_when=_BETA)
    shift: float = option(1.0, "Above 1 moves what is drawn to noisier timesteps, below 1 to cleaner ones.", above=0, le=100,
                          source="arXiv:2403.03206, equation 23")
