"""How well a model denoises given images with given captions, in a number that can be compared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from pivotal.training.batch import Batches
from pivotal.training.seeds import generator
from pivotal.training.session import Session

TIMESTEPS = (100, 300, 500, 700, 900)


@dataclass(frozen=True)
class Measurement:
    """Mean squared errors; smaller is better."""

    error: float
    by_timestep: Mapping[int, float]
    by_item: Mapping[int, float]  # of each image of the dataset that was measured, where batches say which they are


def denoising_errors(session: Session, batches: Batches, images: int) -> Measurement:
    """Errors over the first `images` of `batches` x five timesteps, at noise that is the same each time.

    A training loss jumps with the timestep that was drawn; this does not, so before and after can be compared.
    """
    total, count = 0.0, 0
    by_timestep, by_item = dict.fromkeys(TIMESTEPS, 0.0), {}
    with torch.no_grad():
        for position in range(0, images, batches.size):
            batch = batches.at(position)
            noise = torch.randn(batch.latents.shape, generator=generator(0, "measure", position))
            for timestep in TIMESTEPS:
                timesteps = torch.full((len(batch.latents),), timestep, device=session.model.device)
                errors = session.errors(batch, noise, timesteps)
                total += errors.sum().item()
                count += len(batch.latents)
                by_timestep[timestep] += errors.sum().item()
                for item, error in zip(batch.items, errors.tolist(), strict=bool(batch.items)):
                    by_item.setdefault(item, []).append(error)
    return Measurement(total / count, {timestep: value * len(TIMESTEPS) / count for timestep, value in by_timestep.items()},
                       {item: sum(values) / len(values) for item, values in by_item.items()})
