"""Small networks with real layers' names, as files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from pivotal.formats.network_delta import weight_delta
from pivotal.formats.network_file import network_bytes, read_network

TO_K = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn2_to_k"
CONV = "lora_unet_down_blocks_0_resnets_0_conv1"
TEXT = "lora_te_text_model_encoder_layers_0_self_attn_q_proj"
SHAPES = {TO_K: (48, 768), CONV: (16, 8, 3, 3), TEXT: (32, 32)}


def random(*shape: int, seed: int = 0) -> Tensor:
    """Normal, always the same."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed + sum(shape)))


def lora(shape: Sequence[int], rank: int, alpha: float, seed: int = 0) -> dict[str, Tensor]:
    """A LoRA or LoCon of a weight of that shape."""
    ones = [1] * (len(shape) - 2)
    return {"lora_up.weight": random(shape[0], rank, *ones, seed=seed), "lora_down.weight": random(rank, *shape[1:], seed=seed),
            "alpha": torch.tensor(float(alpha))}


def write_network(path: Path, layers: Mapping[str, Mapping[str, Tensor]] | None = None, rank: int = 6, alpha: float = 3,
                  seed: int = 0, words: Mapping[str, tuple[Tensor, ...]] | None = None,
                  metadata: Mapping[str, str] | None = None) -> Path:
    """A LoRA on a linear layer, a convolution and a text encoder, or on `layers`."""
    made = layers if layers is not None else {key: lora(shape, rank, alpha, seed) for key, shape in SHAPES.items()}
    path.write_bytes(network_bytes(made, words or {}, metadata or {}, "fp32"))
    return path


def deltas(path: Path, shapes: Mapping[str, Sequence[int]] = SHAPES) -> dict[str, Tensor]:
    """What each layer of a file adds, whole."""
    return {key: weight_delta(parts, torch.zeros(tuple(shapes[key]))) for key, parts in read_network(path).layers.items()}
