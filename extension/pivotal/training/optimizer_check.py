"""Tries an optimizer on two small tensors before a run relies on it."""

from __future__ import annotations

from collections.abc import Callable

import torch

from pivotal.config.optimizers import EIGHT_BIT
from pivotal.config.sections.training import Optimizer
from pivotal.errors import OptionError, TrainingError
from pivotal.training.optimizer_kinds import Groups, maker
from pivotal.training.optimizer_state import pack_optimizer, unpack_optimizer


def optimizer_problems(settings: Optimizer) -> dict[str, str]:
    """What is wrong with the optimizer or its arguments, by key; found out before anything is loaded."""
    try:
        make = maker(settings)
    except OptionError as error:
        return error.problems
    if settings.kind in EIGHT_BIT or (settings.kind != "other" and not settings.arguments):
        return {}  # those without arguments of one's own are tried in our tests; some 8-bit ones need the graphics card
    key = "optimizer.arguments" if settings.arguments else "optimizer.name"
    try:
        kept = _tried(make)
    except TrainingError as error:
        return {"optimizer.name": str(error)}
    except Exception as error:  # noqa: BLE001 - somebody else's code with arguments that a person typed: it may raise anything
        return {key: f"the optimizer cannot be used so: {type(error).__name__}: {error}"}
    return {} if kept else {key: "two steps of it give values that are no numbers"}


def _tried(make: Callable[[Groups], torch.optim.Optimizer]) -> bool:
    """Two steps, a state saved and taken up again; whether all stays finite."""
    parameters = [torch.full((2, 3), 0.1, requires_grad=True), torch.full((3,), 0.1, requires_grad=True)]
    groups: Groups = [{"params": parameters, "lr": 1e-3}]
    optimizer = make(groups)
    for _ in range(2):
        for parameter in parameters:
            parameter.grad = torch.full_like(parameter, 0.01)
        optimizer.step()
    facts, tensors = pack_optimizer(optimizer, "")
    unpack_optimizer(make([{"params": parameters, "lr": 1e-3}]), facts, tensors, "")
    return all(bool(torch.isfinite(parameter).all()) for parameter in parameters)
