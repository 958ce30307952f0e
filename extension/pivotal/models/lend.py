"""Lending modules out, and taking them back as they were."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

from torch import Tensor, nn

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Before:
    """One module, its attributes, and the contents of those that are torch's own registers (hooks, parameters...)."""

    module: nn.Module
    attributes: dict[str, Any]
    registers: dict[str, dict[Any, Any]]


class _Held(NamedTuple):
    """A tensor, and what it was; its values are not copied."""

    tensor: Tensor
    data: Tensor
    requires_grad: bool
    grad: Tensor | None
    version: int


@contextmanager
def lend(modules: Iterable[nn.Module]) -> Iterator[None]:
    """Inside, `modules` may be trained, hooked, patched, checkpointed, moved and cast; on exit all of it is undone.

    Restored, raised through or not: training mode, requires_grad, gradients (dropped), hooks, patched `forward`s,
    gradient checkpointing, replaced submodules, parameters and buffers, and where a parameter's values lie. Not
    restored: values that somebody wrote into a tensor in place, which no borrower may do; a write that autograd knows
    of is logged.
    """
    befores = [_snapshot(module) for top in modules for module in top.modules()]
    tensors = {id(tensor): _Held(tensor, tensor.data, tensor.requires_grad, tensor.grad, tensor._version)
               for before in befores for tensor in _tensors(before.module)}
    try:
        yield
    finally:
        try:
            _give_back(befores, tensors.values())
        except BaseException:  # thrown into the thread from outside, in the midst of it: what is half done is done again
            _give_back(befores, tensors.values())
            raise


def _give_back(befores: Iterable[_Before], tensors: Iterable[_Held]) -> None:
    for before in befores:
        _restore(before)
    for tensor, data, requires_grad, grad, version in tensors:
        if tensor._version != version:
            log.error("A lent tensor of shape %s was written in place.", tuple(tensor.shape))
        tensor.grad = None
        if tensor.data_ptr() != data.data_ptr() or tensor.dtype != data.dtype or tensor.device != data.device:
            tensor.data = data  # moved or cast in place by Module.to()
        tensor.requires_grad_(requires_grad)
        tensor.grad = grad


def _tensors(module: nn.Module) -> Iterator[Tensor]:
    yield from (tensor for tensor in module._parameters.values() if tensor is not None)
    yield from (tensor for tensor in module._buffers.values() if tensor is not None)


def _snapshot(module: nn.Module) -> _Before:
    attributes = dict(vars(module))
    registers = {name: dict(value) for name, value in attributes.items()
                 if name.startswith("_") and type(value) in (dict, OrderedDict)}
    return _Before(module, attributes, registers)


def _restore(before: _Before) -> None:
    held = vars(before.module)
    for name in [name for name in held if name not in before.attributes]:
        del held[name]
    held.update(before.attributes)
    for name, contents in before.registers.items():
        register = before.attributes[name]  # the same object as before, for others may hold it
        register.clear()
        register.update(contents)
