"""What AUTOMATIC1111 1.10.1 makes of a network's parts, written plainly from the facts of its extensions-builtin/Lora.

A second, slower computation to which the adapters are compared: the changed weight itself, in fp32 or fp64.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.func import functional_call

Parts = Mapping[str, Tensor]


def host_output(layer: nn.Module, parts: Parts, x: Tensor) -> Tensor:
    """The layer's output after the host has put the parts into its weight and bias."""
    values = {"weight": changed_weight(layer.weight.detach(), parts)}
    for name in ("diff_b", "b_norm"):
        if name in parts:
            values["bias"] = layer.bias + parts[name]
    return functional_call(layer, values, (x,))


def changed_weight(weight: Tensor, parts: Parts) -> Tensor:
    """The weight with the parts in it."""
    if "oft_blocks" in parts:
        return _turned(weight, parts["oft_blocks"].to(weight), float(parts["alpha"]) * weight.shape[0])
    delta = _delta(weight, parts).reshape(weight.shape) * _scale(parts)
    if "dora_scale" not in parts:
        return weight + delta
    sums = weight + delta
    lengths = torch.stack([sums[:, column].norm() for column in range(sums.shape[1])])
    return sums * (parts["dora_scale"].to(weight) / lengths.reshape(parts["dora_scale"].shape))


def _scale(parts: Parts) -> float:
    """alpha / rank, where the host knows the rank: not for GLoRA, IA3, whole differences and whole Kronecker products."""
    for name in ("lora_down.weight", "hada_w1_b", "lokr_w2_b", "lokr_w1_b"):
        if name in parts:
            return float(parts["alpha"]) / parts[name].shape[0]
    return 1.0


def _delta(weight: Tensor, parts: Parts) -> Tensor:
    part = {name: tensor.to(weight) for name, tensor in parts.items()}
    if "lora_up.weight" in part:
        return part["lora_up.weight"].flatten(1) @ part["lora_down.weight"].flatten(1)
    if "hada_w1_a" in part:
        return (part["hada_w1_a"] @ part["hada_w1_b"]) * (part["hada_w2_a"] @ part["hada_w2_b"])
    if "lokr_w1" in part:
        w2 = part["lokr_w2"] if "lokr_w2" in part else part["lokr_w2_a"] @ part["lokr_w2_b"]
        return torch.kron(part["lokr_w1"], w2.flatten(1))
    if "on_input" in part:
        return weight * (part["weight"] if part["on_input"] else part["weight"].reshape(-1, 1))
    if "a1.weight" in part:
        return part["b2.weight"] @ part["b1.weight"] + weight @ part["a2.weight"] @ part["a1.weight"]
    return part["diff"] if "diff" in part else part["w_norm"]


def _turned(weight: Tensor, blocks: Tensor, limit: float) -> Tensor:
    """Block by block as one large matrix: OFT's transposed, BOFT's one after the other between two permutations."""
    q = blocks - blocks.transpose(-1, -2)
    if limit:
        q = q * min(1.0, limit / float(q.norm()))
    one = torch.eye(q.shape[-1], dtype=q.dtype)
    turns = (one + q) @ torch.linalg.inv(one - q)
    flat, size = weight.flatten(1), q.shape[-1]
    if blocks.dim() == 3:
        return (torch.block_diag(*turns).t() @ flat).reshape(weight.shape)
    for number, turn in enumerate(turns):
        order = _butterfly(len(flat), 2**number * size // 2)
        turned = torch.block_diag(*turn) @ flat[order]
        flat = torch.empty_like(turned)
        flat[order] = turned
    return flat.reshape(weight.shape)


def _butterfly(count: int, half: int) -> list[int]:
    """Rows in the order in which row i and row i + half of each group of 2 half stand side by side."""
    return [start + side * half + place for start in range(0, count, 2 * half) for place in range(half) for side in (0, 1)]
