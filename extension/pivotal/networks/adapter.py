"""One adapted layer: what all methods share."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

from pivotal.errors import FormatError
from pivotal.networks.settings import LayerSettings

Parts = Mapping[str, Tensor]
"""An adapter's tensors by the names that they have in files: "lora_up.weight", "alpha", ..."""


class Adapter(nn.Module):
    """A layer's change: fp32 parameters on the layer's device, whatever the layer's format.

    The layer itself is no submodule: its parameters are neither listed, moved nor saved with the adapter's.

    Args:
        layer: linear, convolution or norm; left as it is.
        generator: on the CPU; the initial values are drawn from it.
    """

    needed: ClassVar[tuple[str, ...]]  # the parts by which a file's layer is known to be of this method
    plain: tuple[str, ...] = ()  # names of the parameters that learn at the plain rate
    faster: tuple[str, ...] = ()  # of those that start at zero; LoRA+ teaches them faster
    degree: int = 1  # how many parameters are multiplied with each other in each term of the change

    def __init__(self, layer: nn.Module, settings: LayerSettings, generator: torch.Generator):
        super().__init__()
        vars(self)["layer"] = layer  # by nn.Module's own __setattr__ it would become a submodule
        self.settings = settings
        self.before: Callable[[Tensor], Tensor] | None = None  # a forward that the layer had been given by somebody else
        self.is_skipped = False
        self.seed = 0

    def forward(self, x: Tensor) -> Tensor:
        """The layer's output with the change, in the format of the layer's output."""
        # By the class: hosts replace the class's forward, and ours hides it on the instance.
        y = type(self.layer).forward(self.layer, x) if self.before is None else self.before(x)
        return y if self.is_skipped and self.training else y + self.change(x, y)

    def change(self, x: Tensor, y: Tensor) -> Tensor:
        """What is added to the layer's output `y` for `x`, in y's shape and format.

        Never as a difference of two large numbers: half precision would lose a small change.
        """
        raise NotImplementedError

    def delta(self) -> Tensor:
        """The change of the weight, in its shape, fp32, with the scale and without DoRA's rescaling."""
        raise NotImplementedError

    def tensors(self) -> dict[str, Tensor]:
        """The parts of a file, fp32 on the CPU, from which AUTOMATIC1111 1.10.1 gets the same change."""
        raise NotImplementedError

    def load(self, parts: Parts) -> None:
        """Takes `tensors`, or another program's, back; another scale than ours is put into the factors.

        Raises:
            FormatError: a part is missing, or of a size that does not fit the layer or the rank.
        """
        raise NotImplementedError

    @classmethod
    def read(cls, parts: Parts) -> LayerSettings:
        """The settings for which these parts of a file were written."""
        rank = cls.rank_of(parts)
        return LayerSettings(rank=rank, alpha=float(parts["alpha"]) if "alpha" in parts else rank, dora="dora_scale" in parts)

    @classmethod
    def rank_of(cls, _parts: Parts) -> int:
        """The rank of a file's layer; 1 where the method has none."""
        return 1

    def groups(self) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
        """The parameters that learn at the plain rate, and those that LoRA+ teaches faster (arXiv:2402.12354)."""
        up = [getattr(self, name) for name in self.faster]
        ids = {id(parameter) for parameter in up}
        return [parameter for parameter in self.parameters() if id(parameter) not in ids], up

    def factors(self) -> list[nn.Parameter]:
        """The parameters of which the change is made."""
        return [getattr(self, name) for name in (*self.plain, *self.faster)]

    @torch.no_grad()
    def limit_norm(self, largest: float) -> None:
        """Shrinks the factors alike until the change is no longer than `largest` (kohya's scale_weight_norms)."""
        norm = self.delta().norm()
        ratio = (largest / norm.clamp_min(largest)) ** (1 / self.degree)
        for factor in self.factors():
            factor.mul_(ratio)

    def share(self, fraction: float) -> None:
        """Takes what a step draws once for all layers, a number from 0 to below 1. Only DyLoRA uses it."""

    def prepare(self, generator: torch.Generator) -> None:
        """Draws what a step leaves out; it stays until the next call, so that recomputing leaves out the same."""
        settings = self.settings
        if settings.module_dropout:
            self.is_skipped = bool(torch.rand((), generator=generator) < settings.module_dropout)
        if settings.dropout or settings.rank_dropout:
            self.seed = int(torch.randint(2**62, (), generator=generator))

    def own(self, tensor: Tensor) -> nn.Parameter:
        """A parameter on the layer's device."""
        return nn.Parameter(tensor.to(self.layer.weight.device, torch.float32))

    def written(self, **parts: Tensor) -> dict[str, Tensor]:
        """Copies for a file; a double underscore in a name stands for a dot. None are left out."""
        return {name.replace("__", "."): tensor.detach().float().cpu().clone() for name, tensor in parts.items()}

    @torch.no_grad()
    def take(self, parameter: nn.Parameter, parts: Parts, name: str, factor: float = 1.0) -> None:
        """Fills `parameter` with a part of a file times `factor`; a 1 x 1 kernel may be missing from its shape."""
        if name not in parts:
            raise FormatError(f"{name} is missing; there are {', '.join(sorted(parts))}")
        found = parts[name]
        if _sizes(found.shape) != _sizes(parameter.shape):
            raise FormatError(f"{name} has the shape {tuple(found.shape)}, expected {tuple(parameter.shape)}; "
                              "the file is for another model, or of another rank")
        parameter.copy_(found.reshape(parameter.shape).to(parameter) * factor)

    def scale_of(self, parts: Parts, rank: int) -> float:
        """A file's scale in units of ours."""
        scale = float(parts["alpha"]) / rank if "alpha" in parts else 1.0
        return scale / self.settings.scale


def _sizes(shape: torch.Size) -> tuple[int, ...]:
    """Without kernels of one pixel: (8, 320, 1, 1) and (8, 320) are the same."""
    return tuple(shape[:2]) if len(shape) == 4 and shape[2:] == (1, 1) else tuple(shape)


def kaiming(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Uniform in +-1 / sqrt(inputs), as Kaiming's with a = sqrt(5): torch's and LoRA's choice for a linear layer."""
    bound = 1 / math.sqrt(math.prod(shape[1:]))
    return torch.empty(shape).uniform_(-bound, bound, generator=generator)


def normal(shape: tuple[int, ...], deviation: float, generator: torch.Generator) -> Tensor:
    """Normal values around zero."""
    return torch.empty(shape).normal_(0, deviation, generator=generator)
