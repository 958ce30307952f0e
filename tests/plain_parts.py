"""Parts with a few numbers each, and a toy problem for them: find a matrix and a vector."""

from __future__ import annotations

import torch

from pivotal.training.part import Clock, Part
from pivotal.training.schedules import Schedule


class Numbers(torch.nn.Module):
    """A trainable with parameters of the given shapes; the first ones begin at zero, as LoRA's second matrices do."""

    def __init__(self, name, *shapes, times=(1.0,), seed=0):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.name = name
        self.values = torch.nn.ParameterList([torch.randn(shape, generator=generator) * 0.3 * (index > 0)
                                              for index, shape in enumerate(shapes)])
        self.times = times

    def groups(self):
        each = [self.values] if len(self.times) == 1 else [[value] for value in self.values]
        return list(zip(self.times, each, strict=True))

    def prepare(self, generator):
        return None

    def after_step(self):
        return None

    def vectors(self):
        return {}


def make_parts(rate, *, schedule=None, decays=(True, False)):
    schedule = schedule or Schedule()
    return [Part(Numbers("unet", (4, 3), (3, 6), seed=1), rate, schedule=schedule, decays=decays[0]),
            Part(Numbers("word", (2, 5), (5,), seed=2), rate, schedule=schedule, decays=decays[1])]


def clock(step, of=100):
    return Clock(step, of, step / 10, step, step / 60)


def toy_loss(parts):
    """Squared distance of what the parts give from a fixed target: a product of matrices, and a matrix plus a vector."""
    (up, down), (table, shift) = (list(part.trainable.parameters()) for part in parts)
    wanted = torch.linspace(-1, 1, 24).reshape(4, 6)
    # Fixed entries of gradient 0, as those of unused vectors are.
    return ((up @ down - wanted) ** 2).mean() + ((table[:, :4] + shift[:4] - torch.linspace(0, 2, 8).reshape(2, 4)) ** 2).mean()


def step(steppers, parts, at, resting=()):
    for part in parts:
        for parameter in part.trainable.parameters():
            parameter.requires_grad_(part not in resting)
            parameter.grad = None
    toy_loss(parts).backward()
    for stepper in steppers:
        stepper.set_rates(clock(at))
        if any(part not in resting for part in stepper.parts):
            stepper.optimizer.step()


def values(parts):
    return [parameter.detach().clone() for part in parts for parameter in part.trainable.parameters()]
