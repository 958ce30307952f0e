"""Which images and which timesteps are hard: losses gathered over a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional

BANDS = 10  # of equal width over the timesteps


class Record:
    """Sums of losses by image and by band of timesteps; small, fp64, and part of a run's state."""

    def __init__(self, timesteps: int = 1000):
        self._timesteps = timesteps
        self._images = torch.zeros(3, 0, dtype=torch.float64)  # times seen, sum of losses, sum of loss / band's mean
        self._bands = torch.zeros(2, BANDS, dtype=torch.float64)  # losses, their sum

    def add(self, items: Sequence[int], errors: Tensor, timesteps: Tensor) -> None:
        """Takes in a batch: `errors` (B,) at `timesteps` (B,) of the images `items`, which may be unknown (empty)."""
        bands = (timesteps.cpu() * BANDS // self._timesteps).clamp(0, BANDS - 1)
        values = errors.double().cpu()
        for band, value in zip(bands.tolist(), values.tolist(), strict=True):
            self._bands[0, band] += 1
            self._bands[1, band] += value
        means = (self._bands[1] / self._bands[0].clamp_min(1))[bands]
        relative = torch.where(means > 0, values / means.clamp_min(1e-30), torch.ones_like(values))
        seen = torch.tensor(list(items), dtype=torch.long)
        if len(seen):
            self._grow(int(seen.max()) + 1)
            rows = torch.stack([torch.ones_like(values), values, relative])
            self._images.index_add_(1, seen, rows)  # adds twice what is in the batch twice

    def _grow(self, images: int) -> None:
        more = images - self._images.shape[1]
        if more > 0:
            self._images = functional.pad(self._images, (0, more))

    def by_image(self) -> list[tuple[int, int, float, float]]:
        """(image, times seen, mean loss, mean of its loss over the mean of the same timesteps) of each that was seen.

        The last says what the mean hides: which image is harder than others are at the timesteps that it happened to get.
        """
        return [(index, int(count), (total / count).item(), (relative / count).item())
                for index, (count, total, relative) in enumerate(self._images.T) if count]

    def by_band(self) -> list[tuple[int, float]]:
        """(first timestep, mean loss) of each band that was trained."""
        width = self._timesteps // BANDS
        return [(index * width, (total / count).item()) for index, (count, total) in enumerate(self._bands.T) if count]

    def state(self) -> dict[str, Tensor]:
        """Tensors for the run's state."""
        return {"record.images": self._images.clone(), "record.bands": self._bands.clone()}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Takes back what `state` gave."""
        self._images, self._bands = (tensors[f"record.{name}"].clone() for name in ("images", "bands"))
