"""Applies gradients, once it is sure that they are numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from pivotal.errors import TrainingError
from pivotal.training.optimizers import Stepper
from pivotal.training.part import Part

_ADVICE = "A lower learning rate, or precision bf16 or fp32, helps; what was learned before this step is kept."


def finite(loss: float, step: int) -> float:
    """`loss`, of the `step` that is being taken.

    Raises:
        TrainingError: it is not a finite number.
    """
    if not math.isfinite(loss):
        raise TrainingError(f"The loss became {loss} at step {step}. {_ADVICE}")
    return loss


def update(steppers: Sequence[Stepper], learning: Sequence[Part], scaler: Any, clip_norm: float | None, step: int) -> None:
    """One optimizer update of the parts in `learning`, whose gradients are there.

    Args:
        scaler: of `precision.gradient_scaler`.
        clip_norm: the length that each part's gradient has at most.
        step: the one that is being taken.

    Raises:
        TrainingError: a gradient is not a finite number; nothing is changed.
    """
    # A part that rests has no gradient, and its optimizer's clocks and decay rest with it.
    stepping = [stepper for stepper in steppers if any(part in learning and _has_gradient(part) for part in stepper.parts)]
    for stepper in stepping:
        scaler.unscale_(stepper.optimizer)
    gradients = [parameter.grad for part in learning for parameter in part.parameters if parameter.grad is not None]
    # With a scaler an overflow is ordinary: it skips the step and lowers its scale.
    if not scaler.is_enabled() and not _all_finite(gradients):
        raise TrainingError(f"A gradient became infinite at step {step}. {_ADVICE}")
    if clip_norm is not None:
        for part in learning:  # each for itself: an embedding's gradient is no measure for a network's
            torch.nn.utils.clip_grad_norm_(part.parameters, clip_norm)
    for stepper in stepping:
        scaler.step(stepper.optimizer)
    if stepping:
        scaler.update()


def _has_gradient(part: Part) -> bool:
    return any(parameter.grad is not None for parameter in part.parameters)


def _all_finite(gradients: Sequence[Tensor]) -> bool:
    """Asks the device once, not for each of hundreds of gradients: it would have to be waited for each time."""
    by_device: dict[torch.device, list[Tensor]] = {}
    for gradient in gradients:
        by_device.setdefault(gradient.device, []).append(gradient)
    return all(bool(torch.isfinite(torch.stack(torch._foreach_norm(group, float("inf")))).all()) for group in by_device.values())
