"""What a step saw, gathered from the device and from all processes in one go each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pivotal.training.batch import Batch
from pivotal.training.batch_loss import BatchLoss
from pivotal.training.ranks import Ranks

_UNKNOWN = 1  # in place of an image's number + 2; 0 is a place that another process fills


@dataclass(frozen=True)
class Seen:
    """One batch, as the record of the run takes it."""

    items: Sequence[int]  # empty where unknown
    errors: Sequence[float]
    timesteps: Sequence[float]


def fetched(told: Sequence[tuple[Batch, BatchLoss]]) -> tuple[list[float], list[Seen]]:
    """The losses of batches, and what was seen in each; waits for the device once, however many they are."""
    parts = [part for _, loss in told for part in (loss.value.reshape(1), loss.errors, loss.timesteps)]
    numbers = torch.cat([part.float() for part in parts]).tolist() if parts else []
    values, seen, place = [], [], 0
    for batch, loss in told:
        size = len(loss.errors)
        errors, timesteps = (numbers[place + 1 + size * half:][:size] for half in (0, 1))
        values.append(numbers[place])
        seen.append(Seen(list(batch.items), errors, timesteps))
        place += 1 + 2 * size
    return values, seen


def together(ranks: Ranks, parameters: Iterable[Tensor], loss: float, mine: Mapping[int, Seen], batches: int,
             size: int) -> tuple[float, list[Seen]]:
    """The step's loss and all that it saw, in the order of its batches, in each process; gradients are added up on the way.

    Args:
        loss: this process's share.
        mine: what it saw, by the number of the batch within the step.
        batches: in the step.
        size: images in a batch.
    """
    if ranks.count == 1:
        return ranks.join(parameters, [loss])[0], [mine[index] for index in sorted(mine)]
    places = [[0.0] * 3 for _ in range(batches * size)]
    for index, seen in mine.items():
        for row, (error, timestep) in enumerate(zip(seen.errors, seen.timesteps, strict=True)):
            places[index * size + row] = [seen.items[row] + 2 if seen.items else _UNKNOWN, error, timestep]
    total, *numbers = ranks.join(parameters, [loss, *(number for place in places for number in place)])
    rows = [numbers[start:start + 3] for start in range(0, len(numbers), 3)]
    found = []
    for index in range(batches):
        filled = [row for row in rows[index * size:(index + 1) * size] if row[0]]
        found.append(Seen([int(row[0]) - 2 for row in filled if row[0] != _UNKNOWN], [row[1] for row in filled],
                          [row[2] for row in filled]))
    return total, found
