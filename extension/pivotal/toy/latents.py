"""Stage 3: captioned scenes of the trained world as latents, once, for the UNet's training."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pivotal.toy import captions
from pivotal.toy.text import token_ids, trained_vocabulary
from pivotal.toy.vae import pixels_of, scaled_latents

log = logging.getLogger(__name__)

CHUNK = 512


@dataclass(frozen=True)
class LatentBank:
    """latents (N, 4, 8, 8) float16, scaled to unit std; tokens (N, 77) int64, compact ids of the captions."""

    latents: Tensor
    tokens: Tensor


def latent_bank(folder: Path, count: int, seed: int) -> LatentBank:
    """Reads `folder`/bank.pt, or makes it: `count` captioned scenes of the trained world."""
    path = folder / "bank.pt"
    if not path.exists():
        rng = np.random.default_rng((seed, 3))
        latents, tokens = [], []
        for start in range(0, count, CHUNK):
            pairs = [captions.training_pair(rng) for _ in range(min(CHUNK, count - start))]
            latents.append(scaled_latents(pixels_of([scene for scene, _ in pairs])).half())
            tokens.append(trained_vocabulary().compact(token_ids([words for _, words in pairs])))
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save({"latents": torch.cat(latents), "tokens": torch.cat(tokens)}, path.with_suffix(".partial"))
        os.replace(path.with_suffix(".partial"), path)
        log.info("wrote %d latents to %s", count, path)
    saved = torch.load(path, weights_only=True)
    return LatentBank(saved["latents"], saved["tokens"])
