"""What every stage's loop shares: the learning-rate schedule, the averaged weights, and a state written atomically."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from math import cos, pi
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.optim import Optimizer


@dataclass(frozen=True)
class Schedule:
    """Steps, batch and rate of one stage; warm-up, then a cosine down to a twentieth of `rate`."""

    steps: int
    batch: int
    rate: float
    seed: int = 7
    warmup: int = 100
    decay: float = 0.998  # of the averaged weights
    save_every: int = 200

    def rate_at(self, step: int) -> float:
        """The learning rate of a step, counted from 0."""
        if step < self.warmup:
            return self.rate * (step + 1) / self.warmup
        done = (step - self.warmup) / max(1, self.steps - self.warmup)
        return self.rate * (0.05 + 0.95 * (1 + cos(pi * min(1.0, done))) / 2)

    def apply(self, optimizers: Sequence[Optimizer], loss: Tensor, module: nn.Module, step: int) -> None:
        """One clipped step of every optimizer; each keeps the ratio of its own first rate to `rate`."""
        module.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group.setdefault("first_lr", group["lr"]) * self.rate_at(step) / self.rate
            optimizer.step()

    @torch.no_grad()
    def average(self, average: dict[str, Tensor], module: nn.Module, step: int) -> None:
        """Moves the averaged weights towards the module's; young averages move faster."""
        decay = min(self.decay, (step + 1) / (step + 10))
        for name, value in module.state_dict().items():
            if value.is_floating_point():
                average[name].lerp_(value, 1 - decay)


def save_state(path: Path, step: int, module: nn.Module, optimizers: Sequence[Optimizer], average: dict[str, Tensor]) -> None:
    """Written beside and renamed, so that a run killed in the middle keeps its last state."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    state = {"step": step, "module": module.state_dict(), "average": average}
    state["optimizers"] = [optimizer.state_dict() for optimizer in optimizers]
    torch.save(state, partial)
    os.replace(partial, path)


def load_state(path: Path, module: nn.Module, optimizers: Sequence[Optimizer], average: dict[str, Tensor]) -> int:
    """The step to go on from; 0 where there is no state."""
    if not path.exists():
        return 0
    state = torch.load(path, map_location="cpu", weights_only=True)
    module.load_state_dict(state["module"])
    for optimizer, saved in zip(optimizers, state["optimizers"], strict=True):
        optimizer.load_state_dict(saved)
    average.update(state["average"])
    return int(state["step"])
