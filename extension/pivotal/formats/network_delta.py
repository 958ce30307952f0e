"""What a network file's tensors add to a layer's weight, as AUTOMATIC1111 1.10.1 computes it (extensions-builtin/Lora).

Everything is computed in fp32, where the host computes in the file's or the model's precision.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from pivotal.errors import FormatError

Parts = Mapping[str, Tensor]

# In the host's order, for a layer with the pieces of two methods is the first one's (networks.py, module_types).
_NEEDED: tuple[tuple[str, tuple[tuple[str, ...], ...]], ...] = (
    ("lora", (("lora_up.weight", "lora_down.weight"),)),
    ("loha", (("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b"),)),
    ("ia3", (("weight", "on_input"),)),
    ("lokr", tuple(first + second for first in (("lokr_w1",), ("lokr_w1_a", "lokr_w1_b"))
                   for second in (("lokr_w2",), ("lokr_w2_a", "lokr_w2_b")))),
    ("full", (("diff",),)),
    ("norm", (("w_norm", "b_norm"),)),
    ("glora", (("a1.weight", "a2.weight", "alpha", "b1.weight", "b2.weight"),)),
    ("oft", (("oft_blocks",), ("oft_diag",))),
)
_TINY = 1e-8


def kind_of(parts: Parts) -> str | None:
    """"lora", "loha", "ia3", "lokr", "full", "norm", "glora", "oft" or "boft"; None when the host reads none of them."""
    for kind, choices in _NEEDED:
        if any(all(name in parts for name in names) for names in choices):
            return "boft" if kind == "oft" and "oft_blocks" in parts and parts["oft_blocks"].dim() == 4 else kind
    return None


def rank_of(parts: Parts) -> int | None:
    """The rank that alpha is divided by; None where there is none, as in a LoKr of two whole matrices."""
    kind = kind_of(parts)
    if kind == "lora":
        return parts["lora_down.weight"].shape[0]
    if kind == "loha":
        return parts["hada_w1_b"].shape[0]
    if kind == "lokr":  # the second factor's where both are split
        split = next((parts[name] for name in ("lokr_w2_b", "lokr_w1_b") if name in parts), None)
        return None if split is None else split.shape[0]
    return None


def alpha_of(parts: Parts) -> float | None:
    """The file's alpha, else the rank, which is a scale of 1; None without both."""
    if "alpha" in parts:
        return float(parts["alpha"])
    rank = rank_of(parts)
    return None if rank is None else float(rank)


def scale_of(parts: Parts) -> float:
    """What the difference is multiplied by: `scale` if it is there, else alpha / rank, else 1."""
    if kind_of(parts) in ("oft", "boft"):
        return 1.0  # alpha is its constraint
    if "scale" in parts:
        return float(parts["scale"])
    rank = rank_of(parts)
    return 1.0 if rank is None or "alpha" not in parts else float(parts["alpha"]) / rank


def low_rank(parts: Parts) -> tuple[Tensor, Tensor, float] | None:
    """Down, up (fp32, in the file's shapes) and scale of a plain LoRA: scale x up(down(x)) is what it adds.

    None for everything else, also for a LoRA with a middle (tucker), a DoRA scale or a sparse `bias`.
    """
    if kind_of(parts) != "lora" or {"lora_mid.weight", "dora_scale", "bias"} & set(parts):
        return None
    return parts["lora_down.weight"].float(), parts["lora_up.weight"].float(), scale_of(parts)


def bias_delta(parts: Parts, weight: Tensor) -> Tensor | None:
    """What is added to the layer's bias at multiplier 1, fp32; only full differences and norms have it."""
    name = {"full": "diff_b", "norm": "b_norm"}.get(kind_of(parts) or "", "")
    return parts[name].to(weight.device, torch.float32) if name in parts else None


def weight_delta(parts: Parts, weight: Tensor, *, as_trained: bool = False) -> Tensor:
    """What is added to `weight` at multiplier 1.

    Args:
        weight: of the layer, of its checkpoint; only DoRA, IA3, GLoRA, OFT and BOFT look at its values.
        as_trained: takes a `dora_scale` of one value per output (LyCORIS's default, PEFT) as its trainer meant it. The
            host divides by a norm per input whatever the shape is, and draws something else than was trained.

    Returns: fp32, of the weight's shape and on its device.

    Raises:
        FormatError: the parts are of no known method, or do not fit the weight.
    """
    kind = kind_of(parts)
    if kind is None:
        raise FormatError(f"{', '.join(sorted(parts))} is not what any known method trains.")
    there = {name: tensor.to(weight.device, torch.float32) for name, tensor in parts.items()}
    plain = weight.detach().float()
    try:
        delta = _RULES[kind](there, plain)
        if "bias" in parts:
            delta = delta.reshape(there["bias"].shape) + there["bias"]
        if delta.numel() != plain.numel():
            raise FormatError(f"it makes {tuple(delta.shape)} of a weight that is {tuple(plain.shape)}.")
        delta = delta.reshape(plain.shape) * scale_of(parts)
        return _decomposed(delta, plain, there["dora_scale"], as_trained) if "dora_scale" in parts else delta
    except (RuntimeError, IndexError) as error:  # torch's words for factors that do not fit together
        shapes = ", ".join(f"{name} {tuple(tensor.shape)}" for name, tensor in sorted(parts.items()))
        raise FormatError(f"{shapes} do not fit a weight of {tuple(plain.shape)}.") from error


def _lora(parts: Parts, weight: Tensor) -> Tensor:
    """Low-rank update (Hu et al. 2021, arXiv:2106.09685, 4.1); with a middle, Tucker-2 of a convolution."""
    up, down = parts["lora_up.weight"], parts["lora_down.weight"]
    if "lora_mid.weight" in parts:
        return torch.einsum("nmkl,in,mj->ijkl", parts["lora_mid.weight"], up.flatten(1), down.flatten(1))
    return (up.flatten(1) @ down.flatten(1)).reshape(weight.shape)


def _loha(parts: Parts, weight: Tensor) -> Tensor:
    """Hadamard product of two low-rank matrices (Hyeon-Woo et al. 2021, arXiv:2108.06098, 2.2)."""
    sides = []
    for side in "12":
        a, b, core = parts[f"hada_w{side}_a"], parts[f"hada_w{side}_b"], parts.get(f"hada_t{side}")
        sides.append(a.flatten(1) @ b.flatten(1) if core is None else _tucker(core, a, b).flatten(1))
    return (sides[0] * sides[1]).reshape(weight.shape)


def _tucker(core: Tensor, outputs: Tensor, inputs: Tensor) -> Tensor:
    """(r, r, kh, kw), (r, out), (r, in) -> (out, in, kh, kw)."""
    return torch.einsum("ijkl,jr,ip->prkl", core, inputs, outputs)


def _lokr(parts: Parts, weight: Tensor) -> Tensor:
    """Kronecker product, each factor whole or of low rank (Yeh et al. 2023, arXiv:2309.14859, 4.1)."""
    first = parts["lokr_w1"] if "lokr_w1" in parts else parts["lokr_w1_a"] @ parts["lokr_w1_b"]
    if "lokr_w2" in parts:
        second = parts["lokr_w2"]
    elif "lokr_t2" in parts:
        second = _tucker(parts["lokr_t2"], parts["lokr_w2_a"], parts["lokr_w2_b"])
    else:
        second = parts["lokr_w2_a"] @ parts["lokr_w2_b"].flatten(1)
    if second.dim() == 4:
        first = first[:, :, None, None]
    return torch.kron(first, second.contiguous()).reshape(weight.shape)


def _ia3(parts: Parts, weight: Tensor) -> Tensor:
    """A factor per output or per input, of which the file has the part above 1 (Liu et al. 2022, arXiv:2205.05638).

    The host raises on a convolution; this is what the trainer means there.
    """
    factor = parts["weight"].flatten()
    axis = 1 if float(parts["on_input"]) else 0
    return weight * factor.reshape([-1 if index == axis else 1 for index in range(weight.dim())])


def _glora(parts: Parts, weight: Tensor) -> Tensor:
    """W A + B with low-rank A and B (Chavan et al. 2023, arXiv:2306.07967); the host leaves alpha out."""
    if weight.dim() != 2:
        raise FormatError("GLoRA of a convolution is read by no host.")
    return parts["b2.weight"] @ parts["b1.weight"] + (weight @ parts["a2.weight"]) @ parts["a1.weight"]


def _full(parts: Parts, _weight: Tensor) -> Tensor:
    return parts["diff"]


def _norm(parts: Parts, _weight: Tensor) -> Tensor:
    return parts["w_norm"]


def _rotations(parts: Parts, outputs: int) -> Tensor:
    """Orthogonal blocks by Cayley's transform of Q - Q^T (Qiu et al. 2023, arXiv:2306.07280, 3.3).

    Alpha limits the norm of all of Q - Q^T to alpha x outputs; 0 or none does not.
    """
    if "oft_blocks" not in parts:
        return parts["oft_diag"]  # LyCORIS before 2.0 stored the rotations themselves
    blocks = parts["oft_blocks"]
    skew = blocks - blocks.transpose(-1, -2)
    limit = float(parts["alpha"]) * outputs if "alpha" in parts else 0.0
    if limit:
        size = skew.norm()
        skew = skew * ((size.clamp(max=limit) + _TINY) / (size + _TINY))
    eye = torch.eye(skew.shape[-1], device=skew.device)
    return (eye + skew) @ (eye - skew).inverse()


def _rescaled(parts: Parts, rotated: Tensor, weight: Tensor) -> Tensor:
    if "rescale" in parts:
        rotated = rotated * parts["rescale"].reshape(-1, *[1] * (weight.dim() - 1))
    return rotated - weight


def _oft(parts: Parts, weight: Tensor) -> Tensor:
    """Blocks of outputs rotated: R^T W."""
    blocks = _rotations(parts, weight.shape[0])
    rows = weight.reshape(blocks.shape[0], blocks.shape[1], -1)
    return _rescaled(parts, torch.einsum("knm,knp->kmp", blocks, rows).reshape(weight.shape), weight)


def _boft(parts: Parts, weight: Tensor) -> Tensor:
    """Butterfly factors, each a rotation of blocks of permuted outputs (Liu et al. 2023, arXiv:2311.06243, 4.1)."""
    factors = _rotations(parts, weight.shape[0])
    outputs, size = weight.shape[0], factors.shape[-1]
    rotated = weight.reshape(outputs, -1)
    for level, blocks in enumerate(factors):
        stride = 2**level * (size // 2)
        order = torch.arange(outputs, device=weight.device).reshape(-1, 2, stride).transpose(1, 2).reshape(-1)
        turned = torch.einsum("bij,bjp->bip", blocks, rotated[order].reshape(-1, size, rotated.shape[1]))
        rotated = torch.empty_like(rotated).index_copy_(0, order, turned.reshape(outputs, -1))
    return _rescaled(parts, rotated.reshape(weight.shape), weight)


def _decomposed(delta: Tensor, weight: Tensor, scale: Tensor, as_trained: bool) -> Tensor:
    """Magnitude and direction apart (Liu et al. 2024, arXiv:2402.09353, 4.1), the norm per input of the layer."""
    changed = weight + delta
    per_output = as_trained and scale.numel() == weight.shape[0] and (scale.dim() < 2 or scale.shape[0] == weight.shape[0])
    if per_output and not (scale.dim() >= 2 and scale.shape[0] == 1):
        norm = changed.flatten(1).norm(dim=1).reshape(-1, *[1] * (weight.dim() - 1))
        return changed * (scale.reshape(norm.shape) / norm) - weight
    norm = changed.transpose(0, 1).flatten(1).norm(dim=1).reshape(1, -1, *[1] * (weight.dim() - 2))
    return changed * (scale / norm) - weight


_RULES: Mapping[str, Callable[[Parts, Tensor], Tensor]] = {
    "lora": _lora, "loha": _loha, "lokr": _lokr, "ia3": _ia3, "glora": _glora, "full": _full, "norm": _norm, "oft": _oft,
    "boft": _boft,
}
