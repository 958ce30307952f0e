"""Differences of weights, and the nearest ones of low rank."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from pivotal.errors import FormatError
from pivotal.formats.network_delta import kind_of, low_rank, weight_delta

Method = Literal["fixed", "sv_ratio", "sv_fro", "sv_cumulative"]
ALL = 2**31  # singular values: more than any matrix has
_EXACT = 768  # smallest side of a matrix up to which its whole decomposition is computed
_EXTRA, _ROUNDS = 16, 4  # of the randomized one: directions beyond the rank, and power iterations
_WIDE_KERNELS = ("_conv1", "_conv2", "_conv", "_conv_in", "_conv_out", "_in_layers_2", "_out_layers_3", "_op",
                 "_input_blocks_0_0", "_unet_out_2")


@dataclass(frozen=True)
class Difference:
    """A weight's difference, as the product of two factors or, where `down` is None, as it is."""

    up: Tensor  # (outputs, rank), or (outputs, inputs x kernel) without `down`; fp32
    down: Tensor | None  # (rank, inputs x kernel), fp32
    shape: tuple[int, ...]  # of the weight: (outputs, inputs) or (outputs, inputs, height, width)

    def dense(self) -> Tensor:
        """(outputs, inputs x kernel)."""
        return self.up if self.down is None else self.up @ self.down


@dataclass(frozen=True)
class Spectrum:
    """The largest singular values of a difference and their directions: left x diag(values) x right."""

    left: Tensor  # (outputs, n)
    values: Tensor  # (n,), falling
    right: Tensor  # (n, inputs x kernel)
    energy: float  # sum of the squares of all singular values, also of those left out
    shape: tuple[int, ...]


def difference_of(layer: str, parts: Mapping[str, Tensor], weight: Tensor | None) -> Difference:
    """What a network does to one layer, at multiplier 1.

    Args:
        weight: the checkpoint's; None: not at hand.

    Raises:
        FormatError: it cannot be told without the weight, or is no difference of a weight alone.
    """
    kind = kind_of(parts)
    if kind in (None, "norm") or "diff_b" in parts:
        raise FormatError(f"{layer} is trained as {kind}, biases included; that is no matrix and has no rank.")
    factors = low_rank(parts)
    if factors:
        down, up, scale = factors
        shape = (up.shape[0], *down.shape[1:]) if down.dim() == 4 else (up.shape[0], down.shape[1])
        return Difference(up.flatten(1) * scale, down.flatten(1), shape)
    if weight is None and ("dora_scale" in parts or kind in ("ia3", "glora", "oft", "boft")):
        raise FormatError(f"{layer} is {'DoRA' if 'dora_scale' in parts else kind}, which means nothing without the weights "
                          "it was trained on; give their checkpoint, too.")
    delta = weight_delta(parts, torch.zeros(_shape_of(layer, parts)) if weight is None else weight, as_trained=True)
    return Difference(delta.flatten(1), None, tuple(delta.shape))


def _shape_of(layer: str, parts: Mapping[str, Tensor]) -> tuple[int, ...]:
    """The weight's shape, from the factors; a kernel folded into a matrix is 3 x 3, by the layer's name."""
    if "diff" in parts:
        return tuple(parts["diff"].shape)
    if "lora_mid.weight" in parts:
        return (parts["lora_up.weight"].shape[0], parts["lora_down.weight"].shape[1], *parts["lora_mid.weight"].shape[2:])
    if "lora_down.weight" in parts:
        return (parts["lora_up.weight"].shape[0], *parts["lora_down.weight"].shape[1:])
    if "hada_t1" in parts:
        return (parts["hada_w1_a"].shape[1], parts["hada_w1_b"].shape[1], *parts["hada_t1"].shape[2:])
    if "hada_w1_a" in parts:
        outputs, inputs = parts["hada_w1_a"].shape[0], parts["hada_w1_b"].shape[1]
    else:
        outputs, inputs, kernel = _kronecker_shape(parts)
        if kernel:
            return (outputs, inputs, *kernel)
    is_wide = layer.endswith(_WIDE_KERNELS) and inputs % 9 == 0
    return (outputs, inputs // 9, 3, 3) if is_wide else (outputs, inputs)


def _kronecker_shape(parts: Mapping[str, Tensor]) -> tuple[int, int, tuple[int, ...]]:
    sides = []
    for side in "12":
        whole = parts.get(f"lokr_w{side}")
        core = parts.get(f"lokr_t{side}")
        if whole is not None:
            sides.append((whole.shape[0], whole.shape[1], tuple(whole.shape[2:])))
        else:
            first, second = parts[f"lokr_w{side}_a"], parts[f"lokr_w{side}_b"]
            kernel = tuple(second.shape[2:]) if core is None else tuple(core.shape[2:])
            sides.append((first.shape[0 if core is None else 1], second.shape[1], kernel))
    (first_out, first_in, _), (second_out, second_in, kernel) = sides
    return first_out * second_out, first_in * second_in, kernel


def spectrum_of(difference: Difference, most: int, device: torch.device) -> Spectrum:
    """The `most` largest singular values, or all there are.

    Exact for products of factors, for matrices with a side up to 768, and where all are asked for; else by randomized
    subspace iteration (Halko et al. 2011, arXiv:0909.4061, algorithms 4.4 and 5.1), always with the same directions.
    """
    up = difference.up.to(device)
    if difference.down is not None:
        left, upper = torch.linalg.qr(up)
        right, lower = torch.linalg.qr(difference.down.to(device).t())
        inner, values, outer = torch.linalg.svd(upper @ lower.t(), full_matrices=False)
        return Spectrum((left @ inner)[:, :most], values[:most], (outer @ right.t())[:most], float(values.square().sum()),
                        difference.shape)
    energy = float(up.square().sum())
    if min(up.shape) <= _EXACT or most + _EXTRA >= min(up.shape):
        left, values, right = torch.linalg.svd(up, full_matrices=False)
        return Spectrum(left[:, :most], values[:most], right[:most], energy, difference.shape)
    generator = torch.Generator().manual_seed(zlib.crc32(b"directions"))
    basis = torch.randn(up.shape[1], most + _EXTRA, generator=generator).to(device)
    for _ in range(_ROUNDS):
        basis, _ = torch.linalg.qr(up.t() @ torch.linalg.qr(up @ basis)[0])
    left, values, inner = torch.linalg.svd(up @ basis, full_matrices=False)
    return Spectrum(left[:, :most], values[:most], (inner @ basis.t())[:most], energy, difference.shape)


def chosen_rank(values: Tensor, method: Method, amount: float, most: int) -> int:
    """How many singular values are kept, at least one (the rules of sd-scripts' networks/resize_lora.py).

    Args:
        amount: for "sv_ratio" the largest is at most this many times one that is kept; for "sv_cumulative" and "sv_fro"
            the part of their sum, or of the root of their squares' sum, that is kept.
        most: the largest rank, and the rank where `method` is "fixed".
    """
    most = min(most, len(values))
    if method == "fixed" or not float(values[0]):
        return most if method == "fixed" else 1
    if method == "sv_ratio":
        kept = int((values > values[0] / amount).sum())
    else:
        measured = values.double() if method == "sv_cumulative" else values.double().square()
        wanted = amount if method == "sv_cumulative" else amount**2
        kept = int((measured.cumsum(0) < wanted * measured.sum() * (1 - 1e-12)).sum()) + 1
    return max(1, min(kept, most))


def kept_part(spectrum: Spectrum, rank: int) -> float:
    """The part of the difference's Frobenius norm that the first `rank` singular values hold, 0 to 1."""
    return 1.0 if not spectrum.energy else float(spectrum.values[:rank].double().square().sum() / spectrum.energy) ** 0.5


def lora_parts(spectrum: Spectrum, rank: int, scale: float = 1.0) -> dict[str, Tensor]:
    """A LoRA of that rank, the singular values shared by both factors so that neither overflows fp16.

    Args:
        scale: alpha / rank of the result.
    """
    root = (spectrum.values[:rank].clamp(min=0) / abs(scale)).sqrt()
    outputs, *inputs = spectrum.shape
    ones = [1] * (len(spectrum.shape) - 2)
    up = spectrum.left[:, :rank] * root * (1 if scale > 0 else -1)
    down = root[:, None] * spectrum.right[:rank]
    return {"lora_up.weight": up.reshape(outputs, rank, *ones).cpu().contiguous(),
            "lora_down.weight": down.reshape(rank, *inputs).cpu().contiguous(), "alpha": torch.tensor(scale * rank)}
