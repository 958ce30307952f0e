"""What a layer adds to its output when networks change it, as AUTOMATIC1111 1.10.1 merges them; no weight is touched."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional

from pivotal.errors import FormatError
from pivotal.formats.network_delta import bias_delta, low_rank, weight_delta

Hook = Callable[[nn.Module, tuple[Tensor, ...], Tensor], Tensor]
INPAINTING, PLAIN = 9, 4  # inputs of a UNet's first convolution


@dataclass(frozen=True)
class Change:
    """One network's part in one layer."""

    file: str  # the network's name
    key: str  # what it calls the layer
    parts: Mapping[str, Tensor]
    multiplier: float


@dataclass(frozen=True)
class Difference:
    """What changes together make of a layer's weight and bias, in the layer's dtype and on its device."""

    weight: Tensor
    bias: Tensor | None
    misfits: tuple[Change, ...]  # those that could not be made


def is_low_rank(change: Change) -> bool:
    """Whether it can be added to the output without a matrix of the weight's size."""
    return low_rank(change.parts) is not None


def fits(module: nn.Module, change: Change) -> bool:
    """Whether a low-rank change leads from the layer's inputs to its outputs."""
    if not isinstance(module, nn.Linear | nn.Conv2d):
        return False
    down, up, weight = change.parts["lora_down.weight"], change.parts["lora_up.weight"], module.weight
    inputs = down.shape[1] == weight.shape[1] or _is_for_plain(down.shape[1], weight)
    same_ends = inputs and up.shape[0] == weight.shape[0] and down.shape[0] == up.shape[1]
    if isinstance(module, nn.Conv2d):
        return same_ends and (down.dim() == 2 and weight.shape[2:] == (1, 1) or down.shape[2:] == weight.shape[2:])
    return same_ends and down[0, 0].numel() == 1


def low_rank_hook(module: nn.Module, change: Change) -> Hook:
    """A forward hook: output + multiplier x alpha / rank x up(down(input)) (Hu et al. 2021, arXiv:2106.09685, 4.1)."""
    down, up, scale = low_rank(change.parts)
    scale *= change.multiplier
    rank, place = down.shape[0], {"device": module.weight.device, "dtype": module.weight.dtype}
    if isinstance(module, nn.Conv2d):
        first = _widened(down.reshape(rank, down.shape[1], *module.kernel_size), module.weight).to(**place)
        second = up.reshape(up.shape[0], rank, 1, 1).to(**place)

        def add_convolved(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
            inner = functional.conv2d(inputs[0], first, None, layer.stride, layer.padding, layer.dilation)
            return output + scale * functional.conv2d(inner, second)

        return add_convolved
    first, second = down.reshape(rank, -1).to(**place), up.reshape(-1, rank).to(**place)

    def add(_layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        return output + scale * functional.linear(functional.linear(inputs[0], first), second)

    return add


def difference(module: nn.Module, changes: Sequence[Change]) -> Difference:
    """The changes one after the other: each sees the weight that the ones before it have made, as in the host."""
    weight = module.weight.detach().float()
    total, bias = weight.new_zeros(weight.shape), None
    misfits = []
    for change in changes:
        try:
            total = total + change.multiplier * _weight_delta(change, weight + total)
        except FormatError:
            misfits.append(change)
            continue
        added = bias_delta(change.parts, weight)
        if added is not None:
            bias = change.multiplier * added + (0 if bias is None else bias)
    return Difference(total.to(module.weight.dtype), None if bias is None else bias.to(module.weight.dtype), tuple(misfits))


def difference_hook(module: nn.Module, made: Difference) -> Hook:
    """A forward hook: output + what the layer would make of its input with the difference as its weight and bias."""
    if isinstance(module, nn.GroupNorm):
        return lambda layer, inputs, output: output + functional.group_norm(
            inputs[0], layer.num_groups, made.weight, made.bias, layer.eps)
    if isinstance(module, nn.LayerNorm):
        return lambda layer, inputs, output: output + functional.layer_norm(
            inputs[0], layer.normalized_shape, made.weight, made.bias, layer.eps)
    if isinstance(module, nn.Conv2d):
        return lambda layer, inputs, output: output + functional.conv2d(
            inputs[0], made.weight, made.bias, layer.stride, layer.padding, layer.dilation)
    return lambda _layer, inputs, output: output + functional.linear(inputs[0], made.weight, made.bias)


def _weight_delta(change: Change, weight: Tensor) -> Tensor:
    """Raises FormatError; the host also knows networks of 4 inputs for an inpainting model, whose first layer has 9."""
    try:
        return weight_delta(change.parts, weight)
    except FormatError:
        if weight.dim() != 4 or weight.shape[1] != INPAINTING:
            raise
        return _widened(weight_delta(change.parts, weight[:, :PLAIN]), weight)


def _is_for_plain(inputs: int, weight: Tensor) -> bool:
    return weight.dim() == 4 and (inputs, weight.shape[1]) == (PLAIN, INPAINTING)


def _widened(values: Tensor, weight: Tensor) -> Tensor:
    """`values` with zeros for the inputs that only an inpainting model has, where `weight` is of one."""
    if not _is_for_plain(values.shape[1], weight):
        return values
    return functional.pad(values, (0, 0, 0, 0, 0, INPAINTING - PLAIN))
