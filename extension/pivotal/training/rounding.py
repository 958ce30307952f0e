"""Weights in bf16 that learn as if they were fp32, on average."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Generator, Tensor

from pivotal.training.part import Part

_DROPPED = 16  # bits of fp32 that bf16 has not; the others are the same


@contextmanager
def widened(parts: Sequence[Part], draws: Generator) -> Iterator[None]:
    """While it lasts, the parameters in bf16 and their gradients are fp32; on exit they are rounded back by chance.

    So the optimizer's arithmetic and memory are fp32's, whichever optimizer it is. An update smaller than what bf16 can tell
    (2^-9 of a weight), which rounding to the nearest would lose each time, moves the weight some of the times, as far on
    average (Zamirai et al. 2020, arXiv:2010.06192, 4.1).

    Args:
        draws: on the CPU; says what is drawn on each parameter's device.
    """
    narrow = [parameter for part in parts for parameter in part.parameters if parameter.dtype == torch.bfloat16]
    for parameter in narrow:
        gradient, parameter.grad = parameter.grad, None
        parameter.data = parameter.data.float()
        parameter.grad = None if gradient is None else gradient.float()
    try:
        yield
    finally:
        made: dict[torch.device, Generator] = {}
        for parameter in narrow:
            device = parameter.device
            if device not in made:
                seed = int(torch.randint(2**62, (), generator=draws))
                made[device] = Generator(device).manual_seed(seed)
            gradient, parameter.grad = parameter.grad, None
            parameter.data = rounded(parameter.data, made[device])
            parameter.grad = None if gradient is None else gradient.to(torch.bfloat16)


def rounded(values: Tensor, draws: Generator) -> Tensor:
    """`values` (fp32) as bf16: up or down by chance, each as likely as it is near, so that the mean is the value.

    A random number below the last bit that stays is added to the bits, and what is below it cut off. What bf16 can hold
    stays as it is; so does what is not finite.
    """
    noise = torch.randint(2**_DROPPED, values.shape, generator=draws, device=values.device, dtype=torch.int32)
    finite = torch.isfinite(values)
    bits = values.contiguous().view(torch.int32) + torch.where(finite, noise, torch.zeros_like(noise))
    return (bits & -(2**_DROPPED)).view(torch.float32).to(torch.bfloat16)
