"""How well a model denoises given images with given captions, in a number that can be compared."""

from __future__ import annotations

import torch

from pivotal.training.batch import Batches
from pivotal.training.seeds import generator
from pivotal.training.session import Session

TIMESTEPS = (100, 300, 500, 700, 900)


def denoising_error(session: Session, batches: Batches, images: int) -> float:
    """Mean squared error over the first `images` of `batches` x five timesteps, at noise that is the same each time.

    A training loss jumps with the timestep that was drawn; this does not, so before and after can be compared.
    """
    total, count = 0.0, 0
    with torch.no_grad():
        for position in range(0, images, batches.size):
            batch = batches.at(position)
            noise = torch.randn(batch.latents.shape, generator=generator(0, "measure", position))
            for timestep in TIMESTEPS:
                timesteps = torch.full((len(batch.latents),), timestep, device=session.model.device)
                total += session.errors(batch, noise, timesteps).sum().item()
                count += len(batch.latents)
    return total / count
