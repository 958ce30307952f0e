"""Which images and which timesteps are hard: losses gathered over a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

BANDS = 10  # of equal width over the timesteps


class Record:
    """Sums of losses by image and by band of timesteps; small, and part of a run's state."""

    def __init__(self, timesteps: int = 1000):
        self._timesteps = timesteps
        # Python's floats, which are fp64: a dozen operations on tensors of one number cost a step more than they compute.
        self._images: list[list[float]] = [[], [], []]  # times seen, sum of losses, sum of loss / band's mean
        self._bands = [[0.0] * BANDS for _ in range(2)]  # losses, their sum

    def add(self, items: Sequence[int], errors: Sequence[float], timesteps: Sequence[float]) -> None:
        """Takes in a batch: `errors` at `timesteps` of the images `items`, which may be unknown (empty)."""
        bands = [min(max(int(timestep) * BANDS // self._timesteps, 0), BANDS - 1) for timestep in timesteps]
        counts, sums = self._bands
        for band, error in zip(bands, errors, strict=True):
            counts[band] += 1
            sums[band] += error
        self._grow(max(items, default=-1) + 1)
        for item, band, error in zip(items, bands, errors, strict=bool(items)):
            mean = sums[band] / counts[band]
            for row, value in zip(self._images, (1.0, error, error / mean if mean > 0 else 1.0), strict=True):
                row[item] += value

    def _grow(self, images: int) -> None:
        more = images - len(self._images[0])
        if more > 0:
            for row in self._images:
                row.extend([0.0] * more)

    def by_image(self) -> list[tuple[int, int, float, float]]:
        """(image, times seen, mean loss, mean of its loss over the mean of the same timesteps) of each that was seen.

        The last says what the mean hides: which image is harder than others are at the timesteps that it happened to get.
        """
        return [(index, int(count), total / count, relative / count)
                for index, (count, total, relative) in enumerate(zip(*self._images, strict=True)) if count]

    def by_band(self) -> list[tuple[int, float]]:
        """(first timestep, mean loss) of each band that was trained."""
        width = self._timesteps // BANDS
        return [(index * width, total / count) for index, (count, total) in enumerate(zip(*self._bands, strict=True)) if count]

    def state(self) -> dict[str, Tensor]:
        """Tensors for the run's state."""
        return {"record.images": torch.tensor(self._images, dtype=torch.float64),
                "record.bands": torch.tensor(self._bands, dtype=torch.float64)}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Takes back what `state` gave."""
        self._images, self._bands = (tensors[f"record.{name}"].tolist() for name in ("images", "bands"))
