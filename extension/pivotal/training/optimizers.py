"""Optimizers over the parts of a run: their rates, and the values that are kept of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from pivotal.config.sections.training import Optimizer
from pivotal.training.optimizer_kinds import TORCH_KINDS, maker
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
        if group.get("relative_step"):
            return _relative_rate(self.optimizer, group)
        return float(group["lr"] / group["times"]) * float(group.get("d", 1.0))

    def estimate_of(self, part: Part) -> float | None:
        """What the optimizer has found for `part` (`d` of Prodigy and D-Adaptation); None where it finds nothing."""
        index = self.parts.index(part)
        found = (group["d"] for group in self.optimizer.param_groups if group["part"] == index and "d" in group)
        estimate = next(found, None)
        return None if estimate is None else float(estimate)

    @property
    def may_overflow(self) -> bool:
        """Whether its update may make a weight infinite from gradients within `update.LARGEST_GRADIENT`.

        Torch's own cannot: they divide by a mean, or add at most 10 times the gradient. Others multiply by what they find.
        """
        return not type(self.optimizer).__module__.startswith("torch.optim")

    @property
    def averages(self) -> bool:
        """Whether the optimizer keeps an average that is its result, as schedule-free ones do."""
        return hasattr(self.optimizer, "eval")

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """While it lasts, the parameters of a schedule-free optimizer have its average in place of its path's point.

        They are put back from copies: the way from the path to the average and back would round, and a run with previews
        would learn something else than one without (Defazio et al. 2024, arXiv:2405.15682, equations 3 to 5).
        """
        if not self.averages:
            yield
            return
        parameters = [parameter for group in self.optimizer.param_groups for parameter in group["params"]]
        with torch.no_grad():
            kept = [parameter.clone() for parameter in parameters]
            self.optimizer.eval()
        try:
            yield
        finally:
            with torch.no_grad():
                self.optimizer.train()
                for parameter, value in zip(parameters, kept, strict=True):
                    parameter.copy_(value)


def make_steppers(settings: Optimizer, parts: Sequence[Part]) -> list[Stepper]:
    """The optimizers of a run: torch's are one for all parts, the others one for each.

    Those that find a rate keep one estimate for all that they hold, and one for vectors of size 0.4 and matrices that begin
    at zero would suit neither (Prodigy's `d`; Mishchenko and Defazio 2023, arXiv:2306.06101, algorithm 4). Those of other
    packages count steps for all parameters alike, also for those of a part that rests.

    Raises:
        OptionError: the optimizer's package is not installed, or an argument does not suit it.
    """
    make = maker(settings)
    if settings.kind in TORCH_KINDS:
        return [Stepper(make(_groups(parts)), tuple(parts))]
    return [Stepper(make(_groups((part,))), (part,)) for part in parts]


def _groups(parts: Sequence[Part]) -> list[dict[str, Any]]:
    """Parameter groups that know whose they are (`part`), and how many times its rate they take (`times`)."""
    groups = [{"params": list(parameters), "lr": part.rate * times, "part": index, "times": times}
              for index, part in enumerate(parts) for times, parameters in part.trainable.groups()]
    for group in groups:
        if not parts[group["part"]].decays:
            group["weight_decay"] = 0.0
    return groups


def _relative_rate(optimizer: torch.optim.Optimizer, group: dict[str, Any]) -> float:
    """Adafactor's own rate in the last step (Shazeer and Stern 2018, arXiv:1804.04235, algorithm 5), of the first parameter."""
    state = next((optimizer.state[parameter] for parameter in group["params"] if optimizer.state.get(parameter)), None)
    if state is None:
        return 0.0
    rate = min(1e-6 * state["step"] if group["warmup_init"] else 1e-2, state["step"] ** -0.5)
    return rate * max(group["eps"][1], float(state["RMS"])) if group["scale_parameter"] else rate
