"""A layer's operation with another weight, with little kept for the way back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from pivotal.models.devices import without_autocast

Build = Callable[..., Tensor]


def weighted(layer: nn.Module, x: Tensor, weight: Tensor) -> Tensor:
    """`layer` with `weight` in place of its own and without a bias.

    Args:
        weight: (any number, inputs[, kernel]) in x's format.
    """
    if isinstance(layer, nn.Conv2d):
        x, padding = padded(layer, x)
        return functional.conv2d(x, weight, None, layer.stride, padding, layer.dilation)
    return functional.linear(x, weight)


def padded(layer: nn.Conv2d, x: Tensor) -> tuple[Tensor, tuple[int, ...]]:
    """`x` as the convolution wants it, and the zeros still to add: for tiling hosts make convolutions circular."""
    if layer.padding_mode == "zeros":
        return x, layer.padding
    high, wide = layer.padding
    return functional.pad(x, (wide, wide, high, high), mode=layer.padding_mode), (0, 0)


def rebuilt(layer: nn.Module, x: Tensor, build: Build, *factors: Tensor) -> Tensor:
    """`weighted` by what `build` makes of the factors: fp32, in the shape of the layer's weight.

    The way back keeps `x` and the factors, and builds the weight anew.
    """
    padding: tuple[int, ...] = ()
    if isinstance(layer, nn.Conv2d):
        x, padding = padded(layer, x)
    return _Rebuilt.apply(layer, padding, build, x, *factors)


def by_columns(layer: nn.Module, x: Tensor, change: Tensor) -> Tensor:
    """The layer's output, without bias, for its inputs times `change` (inputs,); keeps `x` and `change` alone."""
    padding: tuple[int, ...] = ()
    if isinstance(layer, nn.Conv2d):
        x, padding = padded(layer, x)
    return _ByColumns.apply(layer, padding, x, change)


def _run(layer: nn.Module, padding: tuple[int, ...], x: Tensor, weight: Tensor) -> Tensor:
    if isinstance(layer, nn.Conv2d):
        return functional.conv2d(x, weight, None, layer.stride, padding, layer.dilation)
    return functional.linear(x, weight)


def _to_input(layer: nn.Module, padding: tuple[int, ...], grad: Tensor, shape: torch.Size, weight: Tensor) -> Tensor:
    if isinstance(layer, nn.Conv2d):
        return nn.grad.conv2d_input(shape, weight, grad, layer.stride, padding, layer.dilation)
    return grad @ weight


def _to_weight(layer: nn.Module, padding: tuple[int, ...], grad: Tensor, x: Tensor) -> Tensor:
    if isinstance(layer, nn.Conv2d):
        return nn.grad.conv2d_weight(x, layer.weight.shape, grad, layer.stride, padding, layer.dilation)
    return grad.flatten(0, -2).t() @ x.flatten(0, -2)


class _Rebuilt(torch.autograd.Function):
    """The gradients of `rebuilt`: those of a linear layer or convolution, then autograd's of `build`."""

    @staticmethod
    def forward(ctx: Any, layer: nn.Module, padding: tuple[int, ...], build: Build, x: Tensor, *factors: Tensor) -> Tensor:
        ctx.layer, ctx.padding, ctx.build = layer, padding, build
        ctx.save_for_backward(x, *factors)
        with without_autocast(x.device):
            return _run(layer, padding, x, build(*factors).to(x.dtype))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, *factors = ctx.saved_tensors
        with without_autocast(x.device):
            with torch.enable_grad():
                leaves = [factor.detach().requires_grad_() for factor in factors]
                weight = ctx.build(*leaves)
            to_x = None
            if ctx.needs_input_grad[3]:
                to_x = _to_input(ctx.layer, ctx.padding, grad, x.shape, weight.detach().to(x.dtype))
            to_weight = _to_weight(ctx.layer, ctx.padding, grad, x).to(weight.dtype)
            return None, None, None, to_x, *torch.autograd.grad(weight, leaves, to_weight)


class _ByColumns(torch.autograd.Function):
    """The gradients of `by_columns`; the layer's weight has none."""

    @staticmethod
    def forward(ctx: Any, layer: nn.Module, padding: tuple[int, ...], x: Tensor, change: Tensor) -> Tensor:
        ctx.layer, ctx.padding = layer, padding
        ctx.save_for_backward(x, change)
        with without_autocast(x.device):
            return _run(layer, padding, x * _columns(change, x), layer.weight.detach().to(x.dtype))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, change = ctx.saved_tensors
        with without_autocast(x.device):
            to_scaled = _to_input(ctx.layer, ctx.padding, grad, x.shape, ctx.layer.weight.detach().to(x.dtype))
            to_change = (to_scaled * x).float()
            to_change = to_change.sum((0, 2, 3)) if isinstance(ctx.layer, nn.Conv2d) else to_change.flatten(0, -2).sum(0)
            return None, None, to_scaled * _columns(change, x) if ctx.needs_input_grad[2] else None, to_change


def _columns(change: Tensor, x: Tensor) -> Tensor:
    """(inputs,) laid along the channels of `x`: the second of four dimensions, or the last."""
    return change.to(x.dtype)[:, None, None] if x.dim() == 4 else change.to(x.dtype)
