"""What SD 1, SD 2 and SDXL have different from each other: tables, no code."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Prediction = Literal["epsilon", "v"]


@dataclass(frozen=True)
class Encoder:
    """One text encoder of a family, as its hosts use it."""

    name: str  # its tensor's key in embedding files of SDXL, and its name in the token counter
    pad_id: int  # token id after the first end-of-text
    layer: int  # hidden state taken at clip skip 1, counted from the end: 1 is the last
    final_norm: bool  # whether the final layer norm is applied to that hidden state
    clip_skip: bool  # whether clip skip moves `layer`


@dataclass(frozen=True)
class Family:
    """A family of checkpoints."""

    name: Literal["sd1", "sd2", "sdxl"]
    title: str
    encoders: tuple[Encoder, ...]
    latent_scale: float  # latents = sample of the VAE's posterior x this
    resolution: int  # px, side of the square it was trained at
    size_ids: bool  # conditions on original size, crop and target size (SDXL, arXiv:2307.01952 2.2)


SD1 = Family("sd1", "Stable Diffusion 1.x", (Encoder("clip_l", 49407, 1, True, True),), 0.18215, 512, False)
# The penultimate layer and the final norm: what FrozenOpenCLIPEmbedder(layer="penultimate") of SD 2 computes.
SD2 = Family("sd2", "Stable Diffusion 2.x", (Encoder("clip_h", 0, 2, True, False),), 0.18215, 768, False)
SDXL = Family("sdxl", "Stable Diffusion XL",
              (Encoder("clip_l", 49407, 2, False, False), Encoder("clip_g", 0, 2, False, False)), 0.13025, 1024, True)

FAMILIES = {family.name: family for family in (SD1, SD2, SDXL)}
