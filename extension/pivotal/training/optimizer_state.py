"""An optimizer's state as JSON and named tensors, and back; no pickle."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor


def pack_optimizer(optimizer: torch.optim.Optimizer, prefix: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Facts (groups, numbers) and tensors of `optimizer`: ``<prefix>p<parameter>.<name>``, ``<prefix>g<group>.<name>``."""
    state = optimizer.state_dict()
    tensors: dict[str, Tensor] = {}

    def plain(values: Mapping[str, Any], place: str) -> dict[str, Any]:
        tensors.update({f"{prefix}{place}.{name}": value.detach().cpu().clone() for name, value in values.items()
                        if isinstance(value, Tensor)})
        return {name: value for name, value in values.items() if not isinstance(value, Tensor)}

    numbers = {str(parameter): plain(values, f"p{parameter}") for parameter, values in state["state"].items()}
    groups = [plain(group, f"g{index}") for index, group in enumerate(state["param_groups"])]
    return {"groups": groups, "numbers": numbers}, tensors


def unpack_optimizer(optimizer: torch.optim.Optimizer, facts: Mapping[str, Any], tensors: Mapping[str, Tensor],
                     prefix: str) -> None:
    """Gives `optimizer`, made for the same parameters, the state that was packed."""
    state = {int(key): dict(values) for key, values in facts["numbers"].items()}
    groups = [{key: tuple(value) if key == "betas" else value for key, value in group.items()}
              for group in facts["groups"]]
    for key, value in tensors.items():
        if key.startswith(prefix):
            place, name = key[len(prefix):].split(".", 1)
            holder = state.setdefault(int(place[1:]), {}) if place[0] == "p" else groups[int(place[1:])]
            holder[name] = value.clone()
    optimizer.load_state_dict({"state": state, "param_groups": groups})
