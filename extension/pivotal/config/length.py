"""How many optimizer updates a run has, whichever way its length is given."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pivotal.config.train import TrainConfig

MOST_STEPS = 10_000_000


def total_steps(config: TrainConfig, images_per_epoch: float) -> int:
    """The optimizer updates of a run, at least one; an update that is begun is finished.

    With `length.minutes` it is the most there can be: the clock may end the run before.

    Args:
        images_per_epoch: repeats counted.
    """
    length, per_step = config.length, config.batch.size * config.batch.accumulation
    if length.epochs is not None:
        images = length.epochs * images_per_epoch
    elif length.images is not None:
        images = float(length.images)
    else:
        return length.steps
    # 1e-9: 0.1 epochs of 30 images are 3 images, though the product is a little more.
    return max(1, math.ceil(images / per_step - 1e-9))


def with_length(config: TrainConfig, images_per_epoch: float) -> TrainConfig:
    """`config` with its length in `length.steps`, where everything else reads it; given so again, it stays the same."""
    return replace(config, length=replace(config.length, steps=total_steps(config, images_per_epoch)))
