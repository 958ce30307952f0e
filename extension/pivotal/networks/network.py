"""The adapters of one part of the model, as one thing to train."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor, nn

from pivotal.errors import FormatError
from pivotal.models.layers import UNET, Layer
from pivotal.networks.adapter import Parts
from pivotal.networks.methods import METHODS, fits, method_of
from pivotal.networks.settings import LayerSettings

# OpenCLIP has these three in one, and AUTOMATIC1111 1.10.1 does not read changes of its bias.
_JOINED = re.compile(r"\.self_attn\.[qkv]_proj$")


class Network(nn.Module):
    """Adapters by the keys of their layers; made in evaluation mode, changing nothing until trained and `attached`.

    Args:
        name: "unet", "te1" or "te2".
        method: one of METHODS; norm layers among `chosen` get "norm" whatever it is.
        generator: on the CPU; the initial values are drawn from it, layer by layer.
        plus_ratio: how many times faster the factors learn that start at zero (LoRA+, arXiv:2402.12354).
        norm_limit: the longest that a layer's change may get; None is free.
    """

    def __init__(self, name: str, method: str, chosen: Sequence[tuple[Layer, LayerSettings]], generator: torch.Generator, *,
                 plus_ratio: float = 1.0, norm_limit: float | None = None):
        super().__init__()
        self.part = name
        self.plus_ratio, self.norm_limit = plus_ratio, norm_limit
        self.adapters = nn.ModuleDict()
        for layer, settings in chosen:
            own = "norm" if fits("norm", layer.module) else method
            if layer.part != UNET and _JOINED.search(layer.path):
                settings = replace(settings, train_bias=False)
            self.adapters[layer.key] = METHODS[own](layer.module, settings, generator)
        self._modules_below = tuple(self.modules())
        self.eval()

    def train(self, mode: bool = True) -> Network:
        """As nn.Module's, which walks the tree and asks each of its hundreds of modules twice in every step."""
        for module in self._modules_below:
            vars(module)["training"] = mode
        return self

    @property
    def name(self) -> str:
        return self.part

    def vectors(self) -> Mapping[str, Sequence[Tensor]]:
        """None: a network gives no words to captions."""
        return {}

    def groups(self) -> list[tuple[float, tuple[nn.Parameter, ...]]]:
        """All parameters after how many times the network's rate they learn with, in few groups: one for each rate."""
        found: dict[float, list[nn.Parameter]] = {}
        for adapter in self.adapters.values():
            plain, up = adapter.groups()
            found.setdefault(adapter.settings.rate, []).extend(plain)
            if up:
                found.setdefault(adapter.settings.rate * self.plus_ratio, []).extend(up)
        return [(rate, tuple(parameters)) for rate, parameters in found.items() if parameters]

    def narrow(self) -> None:
        """Keeps the factors of the changes in bf16 from now on; to be stepped with `training.rounding.widened`. Norm layers
        and biases, which are few and near zero, stay fp32."""
        for adapter in self.adapters.values():
            for factor in () if isinstance(adapter, METHODS["norm"]) else adapter.factors():
                factor.data = factor.data.bfloat16()

    def prepare(self, generator: torch.Generator) -> None:
        """Draws what the next step leaves out; call it before each step, in training mode."""
        fraction = float(torch.rand((), generator=generator))
        for adapter in self.adapters.values():
            adapter.share(fraction)
            adapter.prepare(generator)

    def after_step(self) -> None:
        """Keeps the changes within `norm_limit`."""
        if self.norm_limit is not None:
            for adapter in self.adapters.values():
                adapter.limit_norm(self.norm_limit)

    @contextmanager
    def attached(self) -> Iterator[None]:
        """While it lasts, the layers answer with their changes; networks may be attached over each other.

        Only `forward` of each layer's instance is set; on exit it is as it was, raised through or not.
        """
        taken = []
        try:
            for adapter in self.adapters.values():
                before = vars(adapter.layer).get("forward")
                assert before != adapter.forward, "attached twice"
                taken.append((adapter, before))
                adapter.before = before
                adapter.layer.forward = adapter.forward
            yield
        finally:
            for adapter, before in reversed(taken):
                adapter.before = None
                if before is None:
                    vars(adapter.layer).pop("forward", None)
                else:
                    adapter.layer.forward = before

    def file_tensors(self) -> dict[str, dict[str, Tensor]]:
        """Key -> the parts of its layer as files have them, fp32 on the CPU."""
        return {key: adapter.tensors() for key, adapter in self.adapters.items()}

    def load_file(self, layers: Mapping[str, Parts]) -> None:
        """Takes a file's layers back, by key; layers that are missing there stay as they are, others are passed over.

        Raises:
            FormatError: no layer is ours, or one does not fit.
        """
        if not any(key in self.adapters for key in layers):
            raise FormatError(f"none of the file's {len(layers)} layers belongs to this network ({self.name})")
        for key, adapter in self.adapters.items():
            if key not in layers:
                continue
            found = method_of(layers[key])
            if found is None or not isinstance(adapter, METHODS[found]):
                raise FormatError(f"{key}: the file's method is {found or 'unknown'}, expected {type(adapter).__name__}")
            try:
                adapter.load(layers[key])
            except FormatError as error:
                raise FormatError(f"{key}: {error}") from error
