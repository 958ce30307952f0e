"""Name -> optimizer; one group per trainable, so that each keeps its own rate."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from pivotal.config.sections.training import Optimizer
from pivotal.training.trainable import Trainable


def make_optimizer(settings: Optimizer, trainables: Sequence[Trainable]) -> torch.optim.Optimizer:
    """The optimizer of a run. A trainable that is frozen has no gradient, and an update skips it, decay included."""
    groups = [{"params": list(part.parameters()), "lr": part.rate} for part in trainables]
    return torch.optim.AdamW(groups, lr=settings.learning_rate, betas=(settings.beta_1, settings.beta_2),
                             eps=settings.epsilon, weight_decay=settings.weight_decay)
