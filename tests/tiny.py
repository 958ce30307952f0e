"""Whole Stable Diffusion checkpoints with random weights, in the original single-file layout, a few MB each.

Names and shapes are written out here after the ldm and sgm code, not taken from diffusers, so that they test its use.
"""

from __future__ import annotations

import json
import tempfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from pivotal.models.build import build_model
from pivotal.models.diffusion import DiffusionModel
from pivotal.prompts.chunks import TokenizedPrompt, tokenize_prompt
from pivotal.prompts.vocabulary import clip_tokenizer

VOCABULARY = 49408
torch.set_num_threads(1)  # layers this small: a second thread only waits; on 2 busy cores it made a step 40 times slower
LATENT = 4


@dataclass(frozen=True)
class Shape:
    """The sizes of a tiny checkpoint; every normed width is a multiple of 32."""

    levels: tuple[tuple[int, int], ...] = ((32, 1), (64, 0))  # channels and transformer depth of each UNet level
    layers: int = 1
    middle_depth: int = 1
    linear: bool = False
    clip_width: int | None = 32
    open_clip_width: int | None = None
    text_layers: int = 2
    pooled: int = 0  # width of the text projection, where there is one
    size_ids: bool = False
    vae: tuple[int, ...] = (32, 32, 64, 64)
    inputs: int = LATENT  # channels of the UNet; 9 for inpainting

    @property
    def context(self) -> int:
        return (self.clip_width or 0) + (self.open_clip_width or 0)


SHAPES = {
    "sd1": Shape(),
    "sd2": Shape(levels=((64, 1), (128, 0)), linear=True, clip_width=None, open_clip_width=64, text_layers=3, pooled=64),
    "sdxl": Shape(levels=((64, 0), (128, 2)), middle_depth=2, linear=True, clip_width=32, open_clip_width=64,
                  pooled=48, size_ids=True),
}


@lru_cache(maxsize=1)
def tokenizer() -> Any:
    """CLIP's own, made once."""
    return clip_tokenizer(Path(tempfile.mkdtemp(prefix="pivotal-vocabulary-")))


def tokenized(text: str) -> TokenizedPrompt:
    """A prompt without embeddings."""
    return tokenize_prompt(text, tokenizer(), {})


def tiny_model(family: str, seed: int = 0, inputs: int = LATENT) -> DiffusionModel:
    """A whole model, trained at 64 px as it says; with 9 inputs one for inpainting."""
    return build_model(tiny_tensors(family, seed, inputs=inputs), tokenizer=tokenizer(), resolution=64)


def usual_model(family: str) -> DiffusionModel:
    """As `tiny_model`, with as many levels and layers as real checkpoints, for readers that take names by those numbers."""
    width = SHAPES[family].levels[0][0]
    usual = ((width, 1), (width, 1), (width, 1), (width, 0))
    levels = (*SHAPES[family].levels, (128, 2)) if family == "sdxl" else usual
    shape = replace(SHAPES[family], levels=levels, layers=2)
    return build_model(_tensors(family, shape, 0), tokenizer=tokenizer(), resolution=64)


def tiny_tensors(family: str, seed: int = 0, dtype: torch.dtype = torch.float32, inputs: int = LATENT) -> dict[str, Tensor]:
    """Every tensor of a checkpoint, a function of its name, its shape and `seed` alone; made once, so write to none."""
    return {name: tensor.to(dtype) for name, tensor in _tiny_tensors(family, seed, inputs).items()}


@lru_cache(maxsize=8)
def _tiny_tensors(family: str, seed: int, inputs: int) -> dict[str, Tensor]:
    return _tensors(family, replace(SHAPES[family], inputs=inputs), seed)


def _tensors(family: str, shape: Shape, seed: int) -> dict[str, Tensor]:
    shapes: dict[str, tuple[int, ...]] = {}
    _add(shapes, "model.diffusion_model.", unet_shapes(shape))
    _add(shapes, "first_stage_model.", vae_shapes(shape.vae))
    clip, open_clip = {
        "sd1": ("cond_stage_model.transformer.text_model.", ""),
        "sd2": ("", "cond_stage_model.model."),
        "sdxl": ("conditioner.embedders.0.transformer.text_model.", "conditioner.embedders.1.model."),
    }[family]
    if shape.clip_width:
        _add(shapes, clip, clip_shapes(shape.clip_width, shape.text_layers))
    if shape.open_clip_width:
        _add(shapes, open_clip, open_clip_shapes(shape.open_clip_width, shape.text_layers, shape.pooled))
    return {name: _values(name, size, seed) for name, size in shapes.items()}


def write_tiny(path: Path, family: str = "sd1", seed: int = 0, dtype: torch.dtype = torch.float16,
               metadata: Mapping[str, str] | None = None, resolution: int = 64, inputs: int = LATENT) -> Path:
    """A checkpoint file; says its resolution in the metadata, as ModelSpec has it."""
    described = {"modelspec.resolution": f"{resolution}x{resolution}"} | dict(metadata or {})
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tiny_tensors(family, seed, dtype, inputs), str(path), metadata=described)
    return path


def write_truncated(path: Path) -> Path:
    """A file whose header promises more than there is, as after a broken download."""
    header = json.dumps({"x": {"dtype": "F32", "shape": [1000], "data_offsets": [0, 4000]}}).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + b"\0" * 100)
    return path


def unet_shapes(shape: Shape) -> dict[str, tuple[int, ...]]:
    """openaimodel.UNetModel of the ldm and sgm repositories."""
    base, time = shape.levels[0][0], 4 * shape.levels[0][0]
    found: dict[str, tuple[int, ...]] = {}
    _add(found, "time_embed.0.", _linear(base, time))
    _add(found, "time_embed.2.", _linear(time, time))
    if shape.size_ids:
        _add(found, "label_emb.0.0.", _linear(shape.pooled + 6 * 256, time))
        _add(found, "label_emb.0.2.", _linear(time, time))
    _add(found, "input_blocks.0.0.", _conv(shape.inputs, base))
    channels, skips, block = base, [base], 1
    for number, (width, depth) in enumerate(shape.levels):
        for _ in range(shape.layers):
            _add(found, f"input_blocks.{block}.0.", _residual(channels, width, time))
            channels = width
            _add(found, f"input_blocks.{block}.1.", _transformer(width, depth, shape))
            skips.append(channels)
            block += 1
        if number < len(shape.levels) - 1:
            _add(found, f"input_blocks.{block}.0.op.", _conv(channels, channels))
            skips.append(channels)
            block += 1
    _add(found, "middle_block.0.", _residual(channels, channels, time))
    _add(found, "middle_block.1.", _transformer(channels, shape.middle_depth, shape))
    _add(found, "middle_block.2.", _residual(channels, channels, time))
    block = 0
    for number, (width, depth) in reversed(list(enumerate(shape.levels))):
        for layer in range(shape.layers + 1):
            _add(found, f"output_blocks.{block}.0.", _residual(channels + skips.pop(), width, time))
            channels = width
            _add(found, f"output_blocks.{block}.1.", _transformer(width, depth, shape))
            if number and layer == shape.layers:
                _add(found, f"output_blocks.{block}.{2 if depth else 1}.conv.", _conv(channels, channels))
            block += 1
    _add(found, "out.0.", _norm(channels))
    _add(found, "out.2.", _conv(channels, LATENT))
    return found


def vae_shapes(widths: tuple[int, ...], layers: int = 1) -> dict[str, tuple[int, ...]]:
    """autoencoder.AutoencoderKL of the ldm repository."""
    found: dict[str, tuple[int, ...]] = {}
    _add(found, "encoder.conv_in.", _conv(3, widths[0]))
    channels = widths[0]
    for level, width in enumerate(widths):
        for layer in range(layers):
            _add(found, f"encoder.down.{level}.block.{layer}.", _vae_residual(channels, width))
            channels = width
        if level < len(widths) - 1:
            _add(found, f"encoder.down.{level}.downsample.conv.", _conv(channels, channels))
    _add_vae_ends(found, "encoder.", channels, channels, 2 * LATENT)
    _add(found, "decoder.conv_in.", _conv(LATENT, channels))
    for level, width in reversed(list(enumerate(widths))):
        for layer in range(layers + 1):
            _add(found, f"decoder.up.{level}.block.{layer}.", _vae_residual(channels, width))
            channels = width
        if level:
            _add(found, f"decoder.up.{level}.upsample.conv.", _conv(channels, channels))
    _add_vae_ends(found, "decoder.", widths[-1], channels, 3)
    _add(found, "quant_conv.", _conv(2 * LATENT, 2 * LATENT, 1))
    _add(found, "post_quant_conv.", _conv(LATENT, LATENT, 1))
    return found


def clip_shapes(width: int, layers: int) -> dict[str, tuple[int, ...]]:
    """CLIPTextModel of transformers before its version 5."""
    found: dict[str, tuple[int, ...]] = {"embeddings.token_embedding.weight": (VOCABULARY, width),
                                         "embeddings.position_embedding.weight": (77, width)}
    for layer in range(layers):
        for name in "qkv":
            _add(found, f"encoder.layers.{layer}.self_attn.{name}_proj.", _linear(width, width))
        _add(found, f"encoder.layers.{layer}.self_attn.out_proj.", _linear(width, width))
        _add(found, f"encoder.layers.{layer}.layer_norm1.", _norm(width))
        _add(found, f"encoder.layers.{layer}.layer_norm2.", _norm(width))
        _add(found, f"encoder.layers.{layer}.mlp.fc1.", _linear(width, 4 * width))
        _add(found, f"encoder.layers.{layer}.mlp.fc2.", _linear(4 * width, width))
    _add(found, "final_layer_norm.", _norm(width))
    return found


def open_clip_shapes(width: int, layers: int, projection: int) -> dict[str, tuple[int, ...]]:
    """The text half of open_clip's CLIP."""
    found: dict[str, tuple[int, ...]] = {"token_embedding.weight": (VOCABULARY, width),
                                         "positional_embedding": (77, width),
                                         "text_projection": (width, projection), "logit_scale": ()}
    for layer in range(layers):
        block = f"transformer.resblocks.{layer}."
        found |= {f"{block}attn.in_proj_weight": (3 * width, width), f"{block}attn.in_proj_bias": (3 * width,)}
        _add(found, f"{block}attn.out_proj.", _linear(width, width))
        _add(found, f"{block}ln_1.", _norm(width))
        _add(found, f"{block}ln_2.", _norm(width))
        _add(found, f"{block}mlp.c_fc.", _linear(width, 4 * width))
        _add(found, f"{block}mlp.c_proj.", _linear(4 * width, width))
    _add(found, "ln_final.", _norm(width))
    return found


def _values(name: str, shape: tuple[int, ...], seed: int) -> Tensor:
    """Variance-keeping weights; norms near 1, but not exactly (a mean of exactly zero divides by zero in A1111)."""
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(zlib.crc32(name.encode()) + seed))
    if "embedding" in name:
        return noise * 0.3
    if len(shape) >= 2:
        return noise * torch.Size(shape[1:]).numel() ** -0.5
    is_norm_weight = name.endswith(("norm.weight", "norm1.weight", "norm2.weight", "norm3.weight", "ln_1.weight",
                                    "ln_2.weight", "ln_final.weight", "in_layers.0.weight", "out_layers.0.weight",
                                    "out.0.weight", "norm_out.weight", "layer_norm.weight"))
    return 1 + 0.1 * noise if is_norm_weight else 0.1 * noise


def _add(found: dict[str, tuple[int, ...]], prefix: str, more: Mapping[str, tuple[int, ...]]) -> None:
    found.update({prefix + name: shape for name, shape in more.items()})


def _linear(inputs: int, outputs: int, bias: bool = True) -> dict[str, tuple[int, ...]]:
    return {"weight": (outputs, inputs)} | ({"bias": (outputs,)} if bias else {})


def _conv(inputs: int, outputs: int, side: int = 3) -> dict[str, tuple[int, ...]]:
    return {"weight": (outputs, inputs, side, side), "bias": (outputs,)}


def _norm(width: int) -> dict[str, tuple[int, ...]]:
    return {"weight": (width,), "bias": (width,)}


def _residual(inputs: int, outputs: int, time: int) -> dict[str, tuple[int, ...]]:
    found: dict[str, tuple[int, ...]] = {}
    _add(found, "in_layers.0.", _norm(inputs))
    _add(found, "in_layers.2.", _conv(inputs, outputs))
    _add(found, "emb_layers.1.", _linear(time, outputs))
    _add(found, "out_layers.0.", _norm(outputs))
    _add(found, "out_layers.3.", _conv(outputs, outputs))
    if inputs != outputs:
        _add(found, "skip_connection.", _conv(inputs, outputs, 1))
    return found


def _transformer(width: int, depth: int, shape: Shape) -> dict[str, tuple[int, ...]]:
    found: dict[str, tuple[int, ...]] = {}
    if not depth:
        return found
    project = _linear(width, width) if shape.linear else _conv(width, width, 1)
    _add(found, "norm.", _norm(width))
    _add(found, "proj_in.", project)
    _add(found, "proj_out.", project)
    for number in range(depth):
        block = f"transformer_blocks.{number}."
        for attention, source in (("attn1", width), ("attn2", shape.context)):
            _add(found, f"{block}{attention}.to_q.", _linear(width, width, bias=False))
            _add(found, f"{block}{attention}.to_k.", _linear(source, width, bias=False))
            _add(found, f"{block}{attention}.to_v.", _linear(source, width, bias=False))
            _add(found, f"{block}{attention}.to_out.0.", _linear(width, width))
        _add(found, f"{block}ff.net.0.proj.", _linear(width, 8 * width))
        _add(found, f"{block}ff.net.2.", _linear(4 * width, width))
        for norm in ("norm1.", "norm2.", "norm3."):
            _add(found, block + norm, _norm(width))
    return found


def _vae_residual(inputs: int, outputs: int) -> dict[str, tuple[int, ...]]:
    found: dict[str, tuple[int, ...]] = {}
    _add(found, "norm1.", _norm(inputs))
    _add(found, "conv1.", _conv(inputs, outputs))
    _add(found, "norm2.", _norm(outputs))
    _add(found, "conv2.", _conv(outputs, outputs))
    if inputs != outputs:
        _add(found, "nin_shortcut.", _conv(inputs, outputs, 1))
    return found


def _add_vae_ends(found: dict[str, tuple[int, ...]], half: str, middle: int, last: int, outputs: int) -> None:
    """The middle, where there is attention over the whole image, and the way out."""
    for name in ("block_1.", "block_2."):
        _add(found, f"{half}mid.{name}", _vae_residual(middle, middle))
    _add(found, f"{half}mid.attn_1.norm.", _norm(middle))
    for name in ("q.", "k.", "v.", "proj_out."):
        _add(found, f"{half}mid.attn_1.{name}", _conv(middle, middle, 1))
    _add(found, f"{half}norm_out.", _norm(last))
    _add(found, f"{half}conv_out.", _conv(last, outputs))
