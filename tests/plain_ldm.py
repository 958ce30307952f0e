"""Stable Diffusion's networks as plain functions over the original tensors, after the ldm, sgm and open_clip code.

A second, slower computation to which the diffusers and transformers modules are compared.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional

Tensors = Mapping[str, Tensor]


def under(tensors: Tensors, prefix: str) -> dict[str, Tensor]:
    """The tensors whose names begin so, without that beginning."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def linear(tensors: Tensors, name: str, values: Tensor) -> Tensor:
    return functional.linear(values, tensors[f"{name}.weight"], tensors.get(f"{name}.bias"))


def conv(tensors: Tensors, name: str, values: Tensor, stride: int = 1) -> Tensor:
    weight = tensors[f"{name}.weight"]
    return functional.conv2d(values, weight, tensors[f"{name}.bias"], stride=stride, padding=weight.shape[-1] // 2)


def group_norm(tensors: Tensors, name: str, values: Tensor, eps: float) -> Tensor:
    return functional.group_norm(values, 32, tensors[f"{name}.weight"], tensors[f"{name}.bias"], eps)


def layer_norm(tensors: Tensors, name: str, values: Tensor) -> Tensor:
    return functional.layer_norm(values, values.shape[-1:], tensors[f"{name}.weight"], tensors[f"{name}.bias"], 1e-5)


def attend(query: Tensor, key: Tensor, value: Tensor, heads: int, mask: Tensor | None = None) -> Tensor:
    """(B, tokens, width) each."""
    query, key, value = (part.unflatten(-1, (heads, -1)).transpose(1, 2) for part in (query, key, value))
    scores = query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1])
    if mask is not None:
        scores = scores + mask
    return (scores.softmax(-1) @ value).transpose(1, 2).flatten(2)


def sinusoids(values: Tensor, width: int) -> Tensor:
    """timestep_embedding of ldm: cosines, then sines."""
    frequencies = torch.exp(-math.log(10000) * torch.arange(width // 2) / (width // 2))
    angles = values[:, None].float() * frequencies
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


def unet(tensors: Tensors, noisy: Tensor, timesteps: Tensor, context: Tensor, heads_of, added: Tensor | None = None):
    """UNetModel.forward. `heads_of(channels)` is the number of heads; `added` is SDXL's vector condition."""
    base = tensors["input_blocks.0.0.weight"].shape[0]
    time = mlp(tensors, "time_embed.0", "time_embed.2", sinusoids(timesteps, base))
    if added is not None:
        time = time + mlp(tensors, "label_emb.0.0", "label_emb.0.2", added)
    values, kept, block = noisy, [], 0
    while f"input_blocks.{block}.0.weight" in tensors or under(tensors, f"input_blocks.{block}."):
        values = unet_block(tensors, f"input_blocks.{block}", values, time, context, heads_of)
        kept.append(values)
        block += 1
    values = unet_block(tensors, "middle_block", values, time, context, heads_of)
    block = 0
    while under(tensors, f"output_blocks.{block}."):
        values = torch.cat([values, kept.pop()], dim=1)
        values = unet_block(tensors, f"output_blocks.{block}", values, time, context, heads_of)
        block += 1
    return conv(tensors, "out.2", functional.silu(group_norm(tensors, "out.0", values, 1e-5)))


def mlp(tensors: Tensors, first: str, second: str, values: Tensor) -> Tensor:
    return linear(tensors, second, functional.silu(linear(tensors, first, values)))


def unet_block(tensors: Tensors, name: str, values: Tensor, time: Tensor, context: Tensor, heads_of) -> Tensor:
    """TimestepEmbedSequential: what each part is, is told from its tensors."""
    for part in range(3):
        here = f"{name}.{part}"
        if f"{here}.in_layers.0.weight" in tensors:
            values = residual(tensors, here, values, time)
        elif f"{here}.transformer_blocks.0.norm1.weight" in tensors:
            values = transformer(tensors, here, values, context, heads_of(values.shape[1]))
        elif f"{here}.op.weight" in tensors:
            values = conv(tensors, f"{here}.op", values, stride=2)
        elif f"{here}.conv.weight" in tensors:
            values = conv(tensors, f"{here}.conv", functional.interpolate(values, scale_factor=2, mode="nearest"))
        elif f"{here}.weight" in tensors:
            values = conv(tensors, here, values)
    return values


def residual(tensors: Tensors, name: str, values: Tensor, time: Tensor) -> Tensor:
    inner = functional.silu(group_norm(tensors, f"{name}.in_layers.0", values, 1e-5))
    inner = conv(tensors, f"{name}.in_layers.2", inner)
    inner = inner + linear(tensors, f"{name}.emb_layers.1", functional.silu(time))[..., None, None]
    inner = functional.silu(group_norm(tensors, f"{name}.out_layers.0", inner, 1e-5))
    inner = conv(tensors, f"{name}.out_layers.3", inner)
    if f"{name}.skip_connection.weight" in tensors:
        values = conv(tensors, f"{name}.skip_connection", values)
    return values + inner


def transformer(tensors: Tensors, name: str, values: Tensor, context: Tensor, heads: int) -> Tensor:
    """SpatialTransformer; a projection by a 1x1 convolution is one by a matrix."""
    height, width = values.shape[2:]
    flat = {key: tensor[:, :, 0, 0] if tensor.ndim == 4 else tensor for key, tensor in tensors.items()
            if key.startswith((f"{name}.proj_in", f"{name}.proj_out"))}
    tokens = group_norm(tensors, f"{name}.norm", values, 1e-6).flatten(2).transpose(1, 2)
    tokens = linear(flat, f"{name}.proj_in", tokens)
    block = 0
    while f"{name}.transformer_blocks.{block}.norm1.weight" in tensors:
        here = f"{name}.transformer_blocks.{block}"
        normed = layer_norm(tensors, f"{here}.norm1", tokens)
        tokens = tokens + cross_attention(tensors, f"{here}.attn1", normed, normed, heads)
        normed = layer_norm(tensors, f"{here}.norm2", tokens)
        tokens = tokens + cross_attention(tensors, f"{here}.attn2", normed, context, heads)
        linear_part, gate = linear(tensors, f"{here}.ff.net.0.proj",
                                   layer_norm(tensors, f"{here}.norm3", tokens)).chunk(2, dim=-1)
        tokens = tokens + linear(tensors, f"{here}.ff.net.2", linear_part * functional.gelu(gate))
        block += 1
    tokens = linear(flat, f"{name}.proj_out", tokens)
    return values + tokens.transpose(1, 2).unflatten(2, (height, width))


def cross_attention(tensors: Tensors, name: str, values: Tensor, context: Tensor, heads: int) -> Tensor:
    query, key, value = (linear(tensors, f"{name}.to_{part}", source)
                         for part, source in (("q", values), ("k", context), ("v", context)))
    return linear(tensors, f"{name}.to_out.0", attend(query, key, value, heads))


def decode(tensors: Tensors, latents: Tensor) -> Tensor:
    """AutoencoderKL.decode of ldm."""
    values = conv(tensors, "decoder.conv_in", conv(tensors, "post_quant_conv", latents))
    values = vae_middle(tensors, "decoder.mid", values)
    levels = len({name.split(".")[2] for name in tensors if name.startswith("decoder.up.")})
    for level in reversed(range(levels)):
        block = 0
        while f"decoder.up.{level}.block.{block}.conv1.weight" in tensors:
            values = vae_residual(tensors, f"decoder.up.{level}.block.{block}", values)
            block += 1
        if level:
            values = functional.interpolate(values, scale_factor=2, mode="nearest")
            values = conv(tensors, f"decoder.up.{level}.upsample.conv", values)
    return conv(tensors, "decoder.conv_out", functional.silu(group_norm(tensors, "decoder.norm_out", values, 1e-6)))


def encode_mean(tensors: Tensors, pixels: Tensor) -> Tensor:
    """The mean of AutoencoderKL.encode of ldm."""
    values, level = conv(tensors, "encoder.conv_in", pixels), 0
    while f"encoder.down.{level}.block.0.conv1.weight" in tensors:
        block = 0
        while f"encoder.down.{level}.block.{block}.conv1.weight" in tensors:
            values = vae_residual(tensors, f"encoder.down.{level}.block.{block}", values)
            block += 1
        name = f"encoder.down.{level}.downsample.conv"
        if f"{name}.weight" in tensors:
            values = functional.pad(values, (0, 1, 0, 1))
            values = functional.conv2d(values, tensors[f"{name}.weight"], tensors[f"{name}.bias"], stride=2)
        level += 1
    values = vae_middle(tensors, "encoder.mid", values)
    values = conv(tensors, "encoder.conv_out", functional.silu(group_norm(tensors, "encoder.norm_out", values, 1e-6)))
    return conv(tensors, "quant_conv", values).chunk(2, dim=1)[0]


def vae_middle(tensors: Tensors, name: str, values: Tensor) -> Tensor:
    values = vae_residual(tensors, f"{name}.block_1", values)
    normed = group_norm(tensors, f"{name}.attn_1.norm", values, 1e-6)
    query, key, value = (conv(tensors, f"{name}.attn_1.{part}", normed).flatten(2).transpose(1, 2) for part in "qkv")
    attended = attend(query, key, value, heads=1).transpose(1, 2).unflatten(2, values.shape[2:])
    return vae_residual(tensors, f"{name}.block_2", values + conv(tensors, f"{name}.attn_1.proj_out", attended))


def vae_residual(tensors: Tensors, name: str, values: Tensor) -> Tensor:
    inner = conv(tensors, f"{name}.conv1", functional.silu(group_norm(tensors, f"{name}.norm1", values, 1e-6)))
    inner = conv(tensors, f"{name}.conv2", functional.silu(group_norm(tensors, f"{name}.norm2", inner, 1e-6)))
    if f"{name}.nin_shortcut.weight" in tensors:
        values = conv(tensors, f"{name}.nin_shortcut", values)
    return values + inner


def causal(length: int) -> Tensor:
    return torch.full((length, length), -torch.inf).triu(1)


def clip(tensors: Tensors, ids: Tensor, heads: int) -> list[Tensor]:
    """OpenAI's CLIP: the input and each layer's output, before the final norm."""
    values = tensors["embeddings.token_embedding.weight"][ids] + tensors["embeddings.position_embedding.weight"]
    states, layer = [values], 0
    while f"encoder.layers.{layer}.mlp.fc1.weight" in tensors:
        here = f"encoder.layers.{layer}"
        normed = layer_norm(tensors, f"{here}.layer_norm1", values)
        query, key, value = (linear(tensors, f"{here}.self_attn.{part}_proj", normed) for part in "qkv")
        values = values + linear(tensors, f"{here}.self_attn.out_proj",
                                 attend(query, key, value, heads, causal(ids.shape[1])))
        inner = linear(tensors, f"{here}.mlp.fc1", layer_norm(tensors, f"{here}.layer_norm2", values))
        values = values + linear(tensors, f"{here}.mlp.fc2", inner * torch.sigmoid(1.702 * inner))
        states.append(values)
        layer += 1
    return states


def open_clip(tensors: Tensors, ids: Tensor, heads: int) -> tuple[list[Tensor], Tensor]:
    """open_clip's text tower: the states as in `clip`, and the projected output at the end of the text."""
    values = tensors["token_embedding.weight"][ids] + tensors["positional_embedding"]
    states, layer = [values], 0
    while f"transformer.resblocks.{layer}.attn.in_proj_weight" in tensors:
        here = f"transformer.resblocks.{layer}"
        normed = layer_norm(tensors, f"{here}.ln_1", values)
        joined = functional.linear(normed, tensors[f"{here}.attn.in_proj_weight"], tensors[f"{here}.attn.in_proj_bias"])
        values = values + linear(tensors, f"{here}.attn.out_proj",
                                 attend(*joined.chunk(3, dim=-1), heads, causal(ids.shape[1])))
        inner = linear(tensors, f"{here}.mlp.c_fc", layer_norm(tensors, f"{here}.ln_2", values))
        values = values + linear(tensors, f"{here}.mlp.c_proj", functional.gelu(inner))
        states.append(values)
        layer += 1
    ended = layer_norm(tensors, "ln_final", values)[torch.arange(len(ids)), ids.argmax(-1)]
    return states, ended @ tensors["text_projection"]
