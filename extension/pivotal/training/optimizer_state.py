"""An optimizer's state as JSON and named tensors, and back; no pickle."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from pivotal.errors import TrainingError

_PLAIN = (bool, int, float, str, type(None))
_BUILT_ANEW = ("fused", "foreach")  # how it is computed is this machine's business, not the state's


def pack_optimizer(optimizer: torch.optim.Optimizer, prefix: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Facts (groups, numbers) and tensors of `optimizer`: ``<prefix>p<parameter>.<name>``, ``<prefix>g<group>.<name>``.

    Tensors in dicts and lists, as bitsandbytes keeps them, are ``<prefix>p<parameter>.<name>/<place in it>``.

    Raises:
        TrainingError: it keeps something that is neither a number, a text nor a tensor.
    """
    state = optimizer.state_dict()
    tensors: dict[str, Tensor] = {}

    def plain(values: Mapping[str, Any], place: str) -> dict[str, Any]:
        tensors.update({f"{prefix}{place}.{name}": _copied(value) for name, value in values.items() if isinstance(value, Tensor)})
        return {name: _encoded(value, f"{prefix}{place}.{name}", tensors) for name, value in values.items()
                if not isinstance(value, Tensor)}

    numbers = {str(parameter): plain(values, f"p{parameter}") for parameter, values in state["state"].items()}
    groups = [plain(group, f"g{index}") for index, group in enumerate(state["param_groups"])]
    return {"groups": groups, "numbers": numbers}, tensors


def _copied(value: Tensor) -> Tensor:
    return value.detach().cpu().clone().contiguous()


def _encoded(value: Any, name: str, tensors: dict[str, Tensor]) -> Any:
    """`value` as JSON; its tensors go to `tensors`, under names that begin with `name`."""
    if isinstance(value, _PLAIN):
        return value
    if isinstance(value, Tensor):
        tensors[name] = _copied(value)
        return {"tensor": name}
    if isinstance(value, (list, tuple)):
        items = [_encoded(item, f"{name}/{index}", tensors) for index, item in enumerate(value)]
        return {"tuple": items} if isinstance(value, tuple) else items
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {"dict": {key: _encoded(item, f"{name}/{key}", tensors) for key, item in value.items()}}
    raise TrainingError(f"This optimizer keeps {name.rpartition('.')[2]!r} as {type(value).__name__}, which no state file can "
                        "hold; choose another one.")


def _decoded(value: Any, name: str, tensors: Mapping[str, Tensor]) -> Any:
    if isinstance(value, list):
        items = [_decoded(item, name, tensors) for item in value]
        return tuple(items) if name == "betas" else items  # states of 0.2.0 have lists there
    if not isinstance(value, Mapping):
        return value
    ((kind, inside),) = value.items()
    if kind == "tensor":
        return tensors[inside].clone()
    if kind == "tuple":
        return tuple(_decoded(item, name, tensors) for item in inside)
    return {key: _decoded(item, key, tensors) for key, item in inside.items()}


def unpack_optimizer(optimizer: torch.optim.Optimizer, facts: Mapping[str, Any], tensors: Mapping[str, Tensor],
                     prefix: str) -> None:
    """Gives `optimizer`, made for the same parameters, the state that was packed."""
    state: dict[int, dict[str, Any]] = {int(key): {name: _decoded(value, name, tensors) for name, value in values.items()}
                                        for key, values in facts["numbers"].items()}
    groups = [{name: _decoded(value, name, tensors) for name, value in group.items()} for group in facts["groups"]]
    for key, value in tensors.items():
        if key.startswith(prefix) and "/" not in key[len(prefix):]:
            place, name = key[len(prefix):].split(".", 1)
            holder = state.setdefault(int(place[1:]), {}) if place[0] == "p" else groups[int(place[1:])]
            holder[name] = value.clone()
    for group, fresh in zip(groups, optimizer.param_groups, strict=True):
        group.update({name: fresh[name] for name in _BUILT_ANEW if name in fresh})
    optimizer.load_state_dict({"state": state, "param_groups": groups})
    _with_formats(optimizer, state)


def _with_formats(optimizer: torch.optim.Optimizer, state: Mapping[int, Mapping[str, Any]]) -> None:
    """Gives the tensors back the formats they were saved in: torch makes every one that of its parameter, bytes, too."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for index, values in state.items():
        held = optimizer.state[parameters[index]]
        for name, value in values.items():
            if isinstance(value, (dict, list, tuple)):
                held[name] = _moved(value, parameters[index].device)
            elif isinstance(value, Tensor) and isinstance(held.get(name), Tensor) and held[name].dtype != value.dtype:
                held[name] = value.to(held[name].device)


def _moved(value: Any, device: torch.device) -> Any:
    if isinstance(value, Tensor):
        return value.to(device)
    if isinstance(value, (list, tuple)):
        return type(value)(_moved(item, device) for item in value)
    return {key: _moved(item, device) for key, item in value.items()} if isinstance(value, dict) else value
