"""Name -> optimizers, over the parts of a run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from pivotal.config.rules.optimizer import FINDS_ITS_RATE
from pivotal.config.sections.training import Optimizer
from pivotal.errors import OptionError
from pivotal.training.part import Clock, Part


@dataclass(frozen=True)
class Stepper:
    """An optimizer and the parts whose parameters it holds."""

    optimizer: torch.optim.Optimizer
    parts: tuple[Part, ...]

    def set_rates(self, clock: Clock) -> None:
        """Gives each group the rate of the next step."""
        rates = [part.rate_at(clock) for part in self.parts]
        for group in self.optimizer.param_groups:
            group["lr"] = rates[group["part"]] * group["times"]

    def rate_of(self, part: Part) -> float:
        """With what rate `part` learned last: what the optimizer found, where it does, times the schedule's."""
        index = self.parts.index(part)
        group = next((group for group in self.optimizer.param_groups if group["part"] == index), None)
        if group is None:
            return 0.0
        return float(group["lr"] / group["times"]) * float(group.get("d", 1.0))


def make_steppers(settings: Optimizer, parts: Sequence[Part]) -> list[Stepper]:
    """The optimizers of a run: AdamW is one for all; those that find a rate are one for each part.

    A single estimate for vectors of size 0.4 and matrices that begin at zero would suit neither (Prodigy's `d` is one
    for all groups of an optimizer; Mishchenko and Defazio 2023, arXiv:2306.06101, algorithm 4).

    Raises:
        OptionError: the optimizer's package is not installed.
    """
    if settings.kind in FINDS_ITS_RATE:
        make = _finding(settings)
        return [Stepper(make(_groups(settings, (part,))), (part,)) for part in parts]
    adamw = torch.optim.AdamW(_groups(settings, parts), lr=settings.learning_rate, eps=settings.epsilon,
                              betas=(settings.beta_1, settings.beta_2))
    return [Stepper(adamw, tuple(parts))]


def _groups(settings: Optimizer, parts: Sequence[Part]) -> list[dict[str, Any]]:
    """Parameter groups that know whose they are (`part`), and how many times its rate they take (`times`)."""
    return [{"params": list(parameters), "lr": part.rate * times, "part": index, "times": times,
             "weight_decay": settings.weight_decay if part.decays else 0.0}
            for index, part in enumerate(parts) for times, parameters in part.trainable.groups()]


def _finding(settings: Optimizer) -> Any:
    try:
        import pytorch_optimizer
    except ImportError as error:
        raise OptionError({"optimizer.kind": f"{settings.kind} needs the package pytorch-optimizer ({error}); restart the "
                                             "WebUI, or run install.py, which installs it"}) from error
    kind = {"prodigy": pytorch_optimizer.Prodigy, "dadapt adam": pytorch_optimizer.DAdaptAdam}[settings.kind]
    growth = math.inf if settings.growth_limit is None else settings.growth_limit
    return lambda groups: kind(groups, lr=1.0, betas=(settings.beta_1, settings.beta_2), d0=settings.first_estimate,
                               growth_rate=growth, eps=settings.epsilon, weight_decouple=True)
