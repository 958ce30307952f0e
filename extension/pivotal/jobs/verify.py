"""Reads results back before they are announced: the bytes that will be written, as a host would use them."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence

import safetensors.torch
import torch
from torch import Tensor, nn

from pivotal.embeddings.trained import TrainedEmbedding
from pivotal.errors import FormatError
from pivotal.formats.bundle import bundle_keys
from pivotal.formats.embedding_file import DOUBLE, SINGLE
from pivotal.formats.network_delta import bias_delta, weight_delta
from pivotal.networks.network import Network

LAYERS = 4  # of each network whose output is compared; all layers' values are looked for
# Relative error of the effect that a stored format may cost; fp32 leaves what two orders of addition differ by.
TOLERANCE = {"fp32": 1e-3, "fp16": 1e-2, "bf16": 5e-2}


def verify_embedding(data: bytes, embedding: TrainedEmbedding) -> None:
    """Raises FormatError when `data` does not hold the vectors of `embedding`."""
    read = safetensors.torch.load(data)
    names = SINGLE[:1] if len(embedding.values) == 1 else DOUBLE
    for name, wanted in zip(names, embedding.values, strict=True):
        if name not in read or not torch.equal(read[name], wanted.detach().float().cpu()) or not read[name].isfinite().all():
            raise FormatError(f"{embedding.placeholder}: its file does not hold what was trained, perhaps because a value "
                              "is not a finite number; nothing was written.")


def verify_state(tensors: Mapping[str, Tensor]) -> None:
    """Raises FormatError when something trained, or an average of it, is not a finite number."""
    bad = sorted(key for key, tensor in tensors.items()
                 if key.startswith(("trained.", "average.", "best.")) and not tensor.isfinite().all())
    if bad:
        raise FormatError(f"{len(bad)} of what is trained are not finite numbers ({', '.join(bad[:LAYERS])}); the last state "
                          "is still there.")


def verify_network(data: bytes, name: str, networks: Sequence[Network], bundled: Mapping[str, Sequence[Tensor]],
                   precision: str) -> None:
    """Compares a network's file with the networks that it was made of.

    Raises:
        FormatError: a layer or a word is missing, or a layer's output is another one.
    """
    layers: dict[str, dict[str, Tensor]] = {}
    rest: dict[str, Tensor] = {}
    for key, tensor in safetensors.torch.load(data).items():
        layer, _, part = key.partition(".")
        if layer.startswith("lora_"):
            layers.setdefault(layer, {})[part] = tensor
        else:
            rest[key] = tensor
    wanted = {key for network in networks for key in network.adapters}
    if set(layers) != wanted:
        raise FormatError(f"{name}: {len(set(layers) ^ wanted)} layers of the file are not those that were trained.")
    for word, vectors in bundled.items():
        for key, vector in bundle_keys(word, vectors).items():
            if key not in rest or not torch.equal(rest[key], vector.cpu()):
                raise FormatError(f"{name}: the file does not hold the word {word!r} as it was trained.")
    for network in networks:
        keys = list(network.adapters)
        for key in keys[::max(1, len(keys) // LAYERS)][:LAYERS]:
            _compare(f"{name}: {key}", network.adapters[key], layers[key], TOLERANCE[precision])


@torch.no_grad()
def _compare(name: str, adapter: nn.Module, parts: Mapping[str, Tensor], tolerance: float) -> None:
    layer = adapter.layer
    inputs = _inputs(layer)
    base = type(layer).forward(layer, inputs).float()
    trained = adapter(inputs).float()
    read = _with_difference(layer, parts)(inputs).float()
    effect = (trained - base).norm().item()
    rounding = torch.finfo(layer.weight.dtype).eps * base.norm().item()
    error = (trained - read).norm().item()
    if not error <= tolerance * effect + 4 * rounding:  # `not <=` catches nan, too
        raise FormatError(f"{name}: read back, the layer's output differs by {error:.2g} where the network's effect is "
                          f"{effect:.2g}.")


def _inputs(layer: nn.Module) -> Tensor:
    """Random values of a shape that `layer` takes; the same each time."""
    if isinstance(layer, nn.Conv2d):
        shape = (1, layer.in_channels, 8, 8)
    elif isinstance(layer, nn.GroupNorm):
        shape = (1, layer.num_channels, 8, 8)
    else:
        shape = (4, layer.weight.shape[-1])
    values = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    return values.to(layer.weight.device, layer.weight.dtype)


def _with_difference(layer: nn.Module, parts: Mapping[str, Tensor]) -> nn.Module:
    """A copy of `layer` with the file's difference added to its weight, as a host adds it."""
    changed = copy.copy(layer)
    changed.__dict__.pop("forward", None)  # the network's own, where it is attached
    weight = layer.weight.detach()
    changed._parameters = dict(layer._parameters)
    changed._parameters["weight"] = nn.Parameter((weight.float() + weight_delta(parts, weight)).to(weight.dtype), False)
    more = bias_delta(parts, weight)
    if more is not None and layer.bias is not None:
        changed._parameters["bias"] = nn.Parameter((layer.bias.detach().float() + more).to(weight.dtype), False)
    return changed
