"""A UNet's and a VAE's configuration for diffusers, read off the shapes of their tensors in the original layout."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import count
from typing import Any

from torch import Size, Tensor

from pivotal.errors import FormatError
from pivotal.models.families import SD1, Family
from pivotal.models.ldm_layout import Facts

HEAD_WIDTH = 64  # num_head_channels of SD 2 and SDXL
INPUTS = (4, 9)  # text to image; inpainting, which is also told the mask and the latents of what is not masked
_OTHER_INPUTS = {5: ", as depth models do", 7: ", as upscalers do", 8: ", as models that edit after an image do"}


@dataclass(frozen=True)
class Level:
    """One resolution of a UNet."""

    channels: int
    layers: int
    depth: int  # transformer blocks after each layer; 0: no attention


def shape_of(tensors: Mapping[str, Tensor], name: str, part: str) -> Size:
    """Raises FormatError when there is no such tensor."""
    if name not in tensors:
        raise FormatError(f"its {part} has no tensor {name}; the file is incomplete or of an unknown kind")
    return tensors[name].shape


def unet_config(unet: Mapping[str, Tensor], family: Family, facts: Facts, resolution: int,
                projection_width: int | None) -> dict[str, Any]:
    """Arguments for UNet2DConditionModel.

    Args:
        unet: the tensors under model.diffusion_model., without that prefix.
        projection_width: of the pooled text; SDXL only.
    """
    refuse_relatives(unet, family)
    levels = unet_levels(unet)
    projection = _first(unet, ".proj_in.weight")
    config = {
        "sample_size": resolution // 8,
        "in_channels": unet["input_blocks.0.0.weight"].shape[1],
        "out_channels": shape_of(unet, "out.2.weight", "UNet")[0],
        "block_out_channels": tuple(level.channels for level in levels),
        "layers_per_block": levels[0].layers,
        "down_block_types": tuple("CrossAttnDownBlock2D" if level.depth else "DownBlock2D" for level in levels),
        "up_block_types": tuple("CrossAttnUpBlock2D" if level.depth else "UpBlock2D" for level in reversed(levels)),
        "cross_attention_dim": _first(unet, ".attn2.to_k.weight").shape[1],
        "use_linear_projection": projection.ndim == 2,
        "attention_head_dim": attention_heads(levels, family, facts),
        "transformer_layers_per_block": _depths(levels, _depth(unet, "middle_block.1")),
    }
    if not family.size_ids:
        return config
    embedded = shape_of(unet, "label_emb.0.0.weight", "UNet")[1]
    return config | {
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": (embedded - (projection_width or 0)) // 6,  # six size ids, each a sinusoid
        "projection_class_embeddings_input_dim": embedded,
    }


def refuse_relatives(unet: Mapping[str, Tensor], family: Family) -> None:
    """Raises FormatError for a UNet that has the family's names and is yet another model."""
    inputs = shape_of(unet, "input_blocks.0.0.weight", "UNet")[1]
    if inputs not in INPUTS:
        raise FormatError(f"its UNet takes {inputs} channels{_OTHER_INPUTS.get(inputs, '')}; only text-to-image (4) and "
                          "inpainting (9) checkpoints are supported")
    if family.size_ids and not _depth(unet, "middle_block.1"):
        raise FormatError("it is SSD-1B or another smaller model made from Stable Diffusion XL, which is not supported")
    if not family.size_ids and "label_emb.0.0.weight" in unet:
        raise FormatError("it is an unCLIP checkpoint, which is made for image prompts and is not supported")


def unet_levels(unet: Mapping[str, Tensor]) -> list[Level]:
    """The resolutions, finest first: layers, then a downsampling, then layers, ..."""
    levels, channels, layers, depth = [], 0, 0, 0
    for index in count(1):
        block = f"input_blocks.{index}"
        output = unet.get(f"{block}.0.out_layers.3.weight")
        if output is not None:
            channels, layers, depth = output.shape[0], layers + 1, _depth(unet, f"{block}.1")
            continue
        if not layers:
            raise FormatError(f"its UNet has no layer at {block}; the file is incomplete or of an unknown kind")
        levels.append(Level(channels, layers, depth))
        layers = 0
        if f"{block}.0.op.weight" not in unet:
            return levels
    raise AssertionError("count() ended")


def _depth(unet: Mapping[str, Tensor], block: str) -> int:
    """Transformer blocks in the spatial transformer `block`."""
    return next(n for n in count() if f"{block}.transformer_blocks.{n}.norm1.weight" not in unet)


def _depths(levels: list[Level], middle: int) -> tuple[int, ...]:
    """diffusers takes the middle block's depth from the last level's, where that has none of its own."""
    depths = [level.depth or 1 for level in levels]
    if not levels[-1].depth:
        depths[-1] = middle
    return tuple(depths)


def attention_heads(levels: list[Level], family: Family, facts: Facts) -> int | tuple[int, ...]:
    """Number of heads (diffusers calls it attention_head_dim): 8 in SD 1, of 64 channels each later."""
    if facts.heads:
        return facts.heads
    if family is SD1 and not facts.head_width:
        return 8
    return tuple(max(1, level.channels // (facts.head_width or HEAD_WIDTH)) for level in levels)


def _first(unet: Mapping[str, Tensor], ending: str) -> Tensor:
    for name, tensor in unet.items():
        if name.endswith(ending):
            return tensor
    raise FormatError(f"its UNet has no cross-attention (no tensor that ends in {ending})")


def vae_config(vae: Mapping[str, Tensor], family: Family, resolution: int) -> dict[str, Any]:
    """Arguments for AutoencoderKL.

    Args:
        vae: the tensors under first_stage_model., without that prefix.
    """
    levels = next(n for n in count() if f"encoder.down.{n}.block.0.conv2.weight" not in vae)
    if not levels:
        raise FormatError("its VAE has no encoder; the file is incomplete or of an unknown kind")
    return {
        "sample_size": resolution,
        "in_channels": shape_of(vae, "encoder.conv_in.weight", "VAE")[1],
        "out_channels": shape_of(vae, "decoder.conv_out.weight", "VAE")[0],
        "latent_channels": shape_of(vae, "decoder.conv_in.weight", "VAE")[1],
        "block_out_channels": tuple(vae[f"encoder.down.{n}.block.0.conv2.weight"].shape[0] for n in range(levels)),
        "layers_per_block": next(n for n in count() if f"encoder.down.0.block.{n}.conv2.weight" not in vae),
        "down_block_types": ("DownEncoderBlock2D",) * levels,
        "up_block_types": ("UpDecoderBlock2D",) * levels,
        "scaling_factor": family.latent_scale,
    }
