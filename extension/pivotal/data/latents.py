"""Latents of all images, computed once and kept in memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from pivotal.data.images import READ_ERRORS, Crop, read_pixels
from pivotal.errors import DatasetError


class ImageEncoder(Protocol):
    """Whoever turns pixels into a posterior over latents: a `models.diffusion.DiffusionModel`."""

    def encode_images(self, pixels: Tensor) -> tuple[Tensor, Tensor]: ...


@dataclass(frozen=True)
class Latents:
    """The posteriors of N images: 2 x N x 4 x h x w fp32 on the CPU (64 KB for 512 px), and their crops."""

    mean: Tensor
    deviation: Tensor
    crops: tuple[Crop, ...]

    def draw(self, indices: Sequence[int], generator: torch.Generator) -> Tensor:
        """(B, 4, h, w): a sample of each posterior."""
        mean = self.mean[list(indices)]
        return mean + self.deviation[list(indices)] * torch.randn(mean.shape, generator=generator)


def cache_latents(encoder: ImageEncoder, paths: Sequence[Path], side: int, *,
                  progress: Callable[[int, int], None], stopped: Callable[[], bool]) -> Latents | None:
    """Encodes every image at `side` x `side` px, one at a time so that memory stays small; None when stopped.

    Raises:
        DatasetError: an image cannot be read, or the VAE answers with something that is not a number.
    """
    means, deviations, crops = [], [], []
    for done, path in enumerate(paths):
        if stopped():
            return None
        progress(done, len(paths))
        try:
            pixels, crop = read_pixels(path, side)
        except READ_ERRORS as error:
            raise DatasetError(f"{path.name} cannot be read: {error}. Repair it or take it out.") from error
        mean, deviation = encoder.encode_images(pixels[None])
        if not torch.isfinite(mean).all():
            raise DatasetError(f"{path.name}: the VAE answers with values that are not numbers. In half precision some "
                               "SDXL VAEs do; start the host with --no-half-vae.")
        means.append(mean.cpu())
        deviations.append(deviation.cpu())
        crops.append(crop)
    progress(len(paths), len(paths))
    return Latents(torch.cat(means), torch.cat(deviations), tuple(crops))
