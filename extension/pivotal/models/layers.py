"""The layers that a network may change, under the names by which files and hosts know them.

Keys are kohya's: ``lora_unet_down_blocks_0_...`` after diffusers' blocks for SD 1 and SD 2, ``lora_unet_input_blocks_1_...``
after the original code's for SDXL, where AUTOMATIC1111 1.10.1 drops an upsampler that bears diffusers' name; and for UNets
of another number of levels or layers, where it takes one layer for another (networks.py, convert_diffusers_name_to_compvis).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from torch import nn

from pivotal.models.diffusion import DiffusionModel

UNET, TEXT = "unet", ("te1", "te2")
USUAL = (4, 2)  # levels, and residual blocks in each, of every SD 1 and SD 2

_TOP = {
    "conv_in": "input_blocks_0_0", "conv_norm_out": "out_0", "conv_out": "out_2", "time_embedding.linear_1": "time_embed_0",
    "time_embedding.linear_2": "time_embed_2", "add_embedding.linear_1": "label_emb_0_0",
    "add_embedding.linear_2": "label_emb_0_2",
}
_RESIDUAL = {"norm1": "in_layers_0", "conv1": "in_layers_2", "norm2": "out_layers_0", "conv2": "out_layers_3",
             "time_emb_proj": "emb_layers_1", "conv_shortcut": "skip_connection"}
_BLOCK = re.compile(r"(down_blocks|up_blocks)\.(\d+)\.(resnets|attentions|downsamplers|upsamplers)\.(\d+)\.(.+)")
_MIDDLE = re.compile(r"mid_block\.(resnets|attentions)\.(\d+)\.(.+)")
_PLACE = re.compile(r"(input_blocks|output_blocks|middle_block)_(\d+)_")
_KINDS = (nn.Linear, nn.Conv2d, nn.GroupNorm, nn.LayerNorm)


@dataclass(frozen=True)
class Layer:
    """A linear, convolution or norm layer of the UNet or of a text encoder."""

    part: str  # "unet", "te1" or "te2"
    path: str  # within the part, in diffusers' and transformers' words: "mid_block.attentions.0.proj_in"
    key: str  # what files call it
    aliases: tuple[str, ...]  # what other files may call it, `key` not among them
    block: int | None  # place among the UNet's blocks (see `block_names`); None outside of them
    module: nn.Module


def layers_of(model: DiffusionModel) -> list[Layer]:
    """Every layer of the UNet and the text encoders, in the modules' order."""
    found = _unet_layers(model)
    for index, encoder in enumerate(model.text_encoders, start=1):
        for path, module in _named(encoder.module):
            # transformers 5 left "text_model." out of some models; files have it always.
            plain = path if path.startswith(("text_model.", "text_projection")) else f"text_model.{path}"
            numbered, alone = (f"lora_te{number}_{plain.replace('.', '_')}" for number in (index, ""))
            keys = (numbered,) if len(model.text_encoders) > 1 else (alone, numbered)
            found.append(Layer(TEXT[index - 1], plain, keys[0], keys[1:], None, module))
    return found


def by_key(model: DiffusionModel) -> Mapping[str, Layer]:
    """Every key and alias -> its layer."""
    return {key: layer for layer in layers_of(model) for key in (layer.key, *layer.aliases)}


def block_names(inputs: int) -> list[str]:
    """IN00, IN01, ..., M00, OUT00, ... of a UNet with so many input blocks: 12 in SD 1 and SD 2, 9 in SDXL."""
    return [f"IN{n:02d}" for n in range(inputs)] + ["M00"] + [f"OUT{n:02d}" for n in range(inputs)]


def input_blocks(model: DiffusionModel) -> int:
    """How many input blocks the original code counts: the first convolution, the layers, the downsamplers."""
    levels = len(model.unet.config.block_out_channels)
    return levels * (model.unet.config.layers_per_block + 1)


def original_name(path: str, layers: int, attending: set[str]) -> str | None:
    """The name of a UNet's module in the ldm and sgm code, with underscores; None where it has none.

    Args:
        layers: residual blocks per level.
        attending: names of the up blocks with attention; there the upsampler stands third, else second.
    """
    if path in _TOP:
        return _TOP[path]
    middle = _MIDDLE.fullmatch(path)
    if middle:
        place = 1 if middle[1] == "attentions" else 2 * int(middle[2])
        return f"middle_block_{place}_{_inner(middle[1], middle[3])}"
    block = _BLOCK.fullmatch(path)
    if block is None:
        return None
    level, kind, place, rest = int(block[2]), block[3], int(block[4]), block[5]
    if block[1] == "down_blocks":
        first = 1 + level * (layers + 1)
        if kind == "downsamplers":
            return f"input_blocks_{first + layers}_0_op"
        return f"input_blocks_{first + place}_{int(kind == 'attentions')}_{_inner(kind, rest)}"
    first = level * (layers + 1)
    if kind == "upsamplers":
        return f"output_blocks_{first + layers}_{2 if f'up_blocks.{level}' in attending else 1}_conv"
    return f"output_blocks_{first + place}_{int(kind == 'attentions')}_{_inner(kind, rest)}"


def _unet_layers(model: DiffusionModel) -> list[Layer]:
    layers, inputs = model.unet.config.layers_per_block, input_blocks(model)
    is_usual = (len(model.unet.config.block_out_channels), layers) == USUAL
    attending = {f"up_blocks.{index}" for index, block in enumerate(model.unet.up_blocks) if hasattr(block, "attentions")}
    found = []
    for path, module in _named(model.unet):
        diffusers, original = f"lora_unet_{path.replace('.', '_')}", original_name(path, layers, attending)
        keys = [diffusers] if original is None else [diffusers, f"lora_unet_{original}"]
        if model.family.size_ids or not is_usual:
            keys.reverse()
        found.append(Layer(UNET, path, keys[0], tuple(keys[1:]), _block(original, inputs), module))
    return found


def _block(original: str | None, inputs: int) -> int | None:
    place = _PLACE.match(original or "")
    if place is None:
        return None
    return {"input_blocks": int(place[2]), "middle_block": inputs, "output_blocks": inputs + 1 + int(place[2])}[place[1]]


def _named(module: nn.Module) -> list[tuple[str, nn.Module]]:
    return [(path, part) for path, part in module.named_modules() if isinstance(part, _KINDS)]


def _inner(kind: str, rest: str) -> str:
    return _RESIDUAL.get(rest, rest) if kind == "resnets" else rest.replace(".", "_")
