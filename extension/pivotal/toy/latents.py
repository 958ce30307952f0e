"""Stage 2: the VAE is folded to SD1's scale, then the trained world is encoded once for the UNet's training."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn

from . import captions, concepts
from .text import token_ids, trained_vocabulary

log = logging.getLogger(__name__)

SCALE = 0.18215  # SD1's fixed factor: pipelines multiply the raw latents by it
POSTERIOR_STD = 0.02  # of scaled latents; a constant, as the encoder here has no use for a wider one
CHUNK = 32


@dataclass(frozen=True)
class LatentBank:
    """latents (N, 4, 8, 8) float16, scaled to unit std; tokens (N, 77) int64, compact ids of the captions."""

    latents: Tensor
    tokens: Tensor


def pixels_of(scenes: list[concepts.Scene]) -> Tensor:
    """(len(scenes), 3, side, side) in -1..1."""
    images = np.stack([concepts.render(scene) for scene in scenes])
    return torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1


@torch.no_grad()
def encode(vae: AutoencoderKL, pixels: Tensor) -> Tensor:
    """(N, 4, side/8, side/8) float32: the posterior's mean, not scaled."""
    with torch.autocast("cpu", torch.bfloat16):
        parts = [vae.encode(part).latent_dist.mean for part in pixels.split(CHUNK)]
    return torch.cat(parts).float()


@torch.no_grad()
def fold_scale(vae: AutoencoderKL, seed: int) -> None:
    """Whitens the latents inside quant_conv, and undoes it in post_quant_conv, so that 0.18215 gives unit covariance.

    Both are 1x1 convolutions, so the fold is exact at borders too.
    """
    rng = np.random.default_rng((seed, 2))
    raw = encode(vae, pixels_of([captions.trained_scene(rng) for _ in range(512)]))
    flat = raw.permute(1, 0, 2, 3).flatten(1).double()
    mean = flat.mean(1)
    values, vectors = torch.linalg.eigh(flat.cov())
    whiten = vectors @ torch.diag(values.rsqrt()) @ vectors.T / SCALE
    compose(vae.quant_conv, whiten, -whiten @ mean)
    back = torch.linalg.inv(whiten)
    old = vae.post_quant_conv.weight[..., 0, 0].double()
    vae.post_quant_conv.bias.copy_(old @ mean + vae.post_quant_conv.bias)
    vae.post_quant_conv.weight.copy_((old @ back)[..., None, None])


@torch.no_grad()
def compose(conv: nn.Conv2d, matrix: Tensor, shift: Tensor) -> None:
    """Applies `matrix` (4, 4) and `shift` (4,) after the mean rows of quant_conv; its log-variance becomes a constant."""
    weight, bias = conv.weight[..., 0, 0].double(), conv.bias.double()
    conv.weight[:4] = (matrix @ weight[:4])[..., None, None].float()
    conv.bias[:4] = (matrix @ bias[:4] + shift).float()
    conv.weight[4:] = 0
    conv.bias[4:] = 2 * float(np.log(POSTERIOR_STD / SCALE))


def latent_bank(folder: Path, vae: AutoencoderKL, count: int, seed: int) -> LatentBank:
    """Reads `folder`/bank.pt, or makes it: `count` captioned scenes of the trained world."""
    path = folder / "bank.pt"
    if not path.exists():
        rng = np.random.default_rng((seed, 3))
        latents, tokens = [], []
        for start in range(0, count, 512):
            pairs = [captions.training_pair(rng) for _ in range(min(512, count - start))]
            latents.append((encode(vae, pixels_of([scene for scene, _ in pairs])) * SCALE).half())
            tokens.append(trained_vocabulary().compact(token_ids([words for _, words in pairs])))
            log.info("encoded %d of %d", start + len(pairs), count)
        torch.save({"latents": torch.cat(latents), "tokens": torch.cat(tokens)}, path.with_suffix(".partial"))
        os.replace(path.with_suffix(".partial"), path)
    saved = torch.load(path, weights_only=True)
    return LatentBank(saved["latents"], saved["tokens"])
