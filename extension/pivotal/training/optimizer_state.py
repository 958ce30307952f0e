"""An optimizer's state as JSON and named tensors, and back; no pickle."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

_PREFIX = "optimizer."


def pack_optimizer(optimizer: torch.optim.Optimizer) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Facts (groups, numbers) and tensors (``optimizer.<parameter>.<name>``) of `optimizer`."""
    state = optimizer.state_dict()
    tensors: dict[str, Tensor] = {}
    numbers: dict[str, dict[str, Any]] = {}
    for parameter, values in state["state"].items():
        for name, value in values.items():
            if isinstance(value, Tensor):
                tensors[f"{_PREFIX}{parameter}.{name}"] = value.detach().cpu().clone()
            else:
                numbers.setdefault(str(parameter), {})[name] = value
    return {"groups": state["param_groups"], "numbers": numbers}, tensors


def unpack_optimizer(optimizer: torch.optim.Optimizer, facts: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Gives `optimizer`, made for the same parameters, the state that was packed."""
    state: dict[int, dict[str, Any]] = {int(key): dict(values) for key, values in facts["numbers"].items()}
    for key, value in tensors.items():
        if key.startswith(_PREFIX):
            parameter, name = key[len(_PREFIX):].split(".", 1)
            state.setdefault(int(parameter), {})[name] = value.clone()
    groups = [{key: tuple(value) if key == "betas" else value for key, value in group.items()}
              for group in facts["groups"]]
    optimizer.load_state_dict({"state": state, "param_groups": groups})
