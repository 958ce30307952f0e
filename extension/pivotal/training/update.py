"""Applies gradients, once it is sure that they are numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from pivotal.training.bad_step import BadStep
from pivotal.training.optimizers import Stepper
from pivotal.training.part import Part

# Squares of larger ones overflow in optimizers, whose memory would be spoiled for good although the gradient is finite.
LARGEST_GRADIENT = 1e15
# Of a scaler: below 1 it is not the scale that makes gradients overflow.
SMALLEST_SCALE = 1.0


def update(steppers: Sequence[Stepper], learning: Sequence[Part], scaler: Any, clip_norm: float | None) -> None:
    """One optimizer update of the parts in `learning`, whose gradients are there.

    Args:
        scaler: of `precision.gradient_scaler`.
        clip_norm: the length that each part's gradient has at most.

    Raises:
        BadStep: a gradient is not a finite number, and nothing is changed; or a weight is none now.
    """
    # A part that rests has no gradient, and its optimizer's clocks and decay rest with it.
    stepping = [stepper for stepper in steppers if any(part in learning and _has_gradient(part) for part in stepper.parts)]
    for stepper in stepping:
        scaler.unscale_(stepper.optimizer)
    # With a scaler an overflow is ordinary: it skips the step and lowers its scale.
    if not scaler.is_enabled() or scaler.get_scale() < SMALLEST_SCALE:
        try:
            _check_gradients(learning)
        except BadStep:
            scaler.update()  # it would refuse the next step, as one that is unscaled already
            raise
    if clip_norm is not None:
        for part in learning:  # each for itself: an embedding's gradient is no measure for a network's
            torch.nn.utils.clip_grad_norm_(part.parameters, clip_norm)
    for stepper in stepping:
        scaler.step(stepper.optimizer)
    if stepping:
        scaler.update()
        _check_weights([part for stepper in stepping if stepper.may_overflow for part in stepper.parts if part in learning])


def _has_gradient(part: Part) -> bool:
    return any(parameter.grad is not None for parameter in part.parameters)


def _check_gradients(learning: Sequence[Part]) -> None:
    by_part = {part.name: [parameter.grad for parameter in part.parameters if parameter.grad is not None] for part in learning}
    if _all_within([gradient for gradients in by_part.values() for gradient in gradients], LARGEST_GRADIENT):
        return
    bad = [name for name, gradients in by_part.items() if not _all_within(gradients, LARGEST_GRADIENT)]
    raise BadStep(f"the gradient of {' and '.join(bad)} became infinite or larger than {LARGEST_GRADIENT:g}")


def _check_weights(parts: Sequence[Part]) -> None:
    largest = torch.finfo(torch.float32).max
    if _all_within([parameter.detach() for part in parts for parameter in part.parameters], largest):
        return
    bad = [part.name for part in parts if not _all_within([value.detach() for value in part.parameters], largest)]
    raise BadStep(f"the optimizer made weights of {' and '.join(bad)} infinite", poisoned=True)


def _all_within(tensors: Sequence[Tensor], largest: float) -> bool:
    """Whether all are finite and at most `largest` in size. Asks a device once, not for each of hundreds of tensors: it would
    have to be waited for each time."""
    by_device: dict[tuple[torch.device, torch.dtype], list[Tensor]] = {}
    for tensor in tensors:
        by_device.setdefault((tensor.device, tensor.dtype), []).append(tensor)
    # No number is larger than its tensor's length, which takes a tenth of the time of looking for the largest one.
    return all(_norms_within(group, 2.0, largest) or _norms_within(group, float("inf"), largest) for group in by_device.values())


def _norms_within(group: Sequence[Tensor], order: float, largest: float) -> bool:
    return bool((torch.stack(torch._foreach_norm(group, order)).float() <= largest).all())
