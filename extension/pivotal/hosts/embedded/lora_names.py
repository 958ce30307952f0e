"""Which module a key of a LoRA file means: kohya's names, with diffusers' blocks or with those of the original code."""

from __future__ import annotations

import re

from torch import nn

from pivotal.models.diffusion import DiffusionModel

_TOP = {
    "conv_in": "input_blocks_0_0", "conv_out": "out_2", "time_embedding.linear_1": "time_embed_0",
    "time_embedding.linear_2": "time_embed_2", "add_embedding.linear_1": "label_emb_0_0",
    "add_embedding.linear_2": "label_emb_0_2",
}
_RESIDUAL = {"conv1": "in_layers_2", "conv2": "out_layers_3", "time_emb_proj": "emb_layers_1",
             "conv_shortcut": "skip_connection"}
_BLOCK = re.compile(r"(down_blocks|up_blocks)\.(\d+)\.(resnets|attentions|downsamplers|upsamplers)\.(\d+)\.(.+)")
_MIDDLE = re.compile(r"mid_block\.(resnets|attentions)\.(\d+)\.(.+)")


def lora_targets(model: DiffusionModel) -> dict[str, nn.Module]:
    """Key up to its first dot -> the linear or convolution layer."""
    found = {}
    layers = model.unet.config.layers_per_block
    attending = {f"up_blocks.{index}" for index, block in enumerate(model.unet.up_blocks) if hasattr(block, "attentions")}
    for name, module in _layers(model.unet):
        found["lora_unet_" + name.replace(".", "_")] = module
        original = original_name(name, layers, attending)
        if original is not None:
            found[f"lora_unet_{original}"] = module
    for index, encoder in enumerate(model.text_encoders, start=1):
        for name, module in _layers(encoder.module):
            # transformers 5 left "text_model." out of some models; files have it always.
            plain = name if name.startswith(("text_model.", "text_projection")) else f"text_model.{name}"
            key = plain.replace(".", "_")
            found[f"lora_te{index}_{key}"] = module
            if len(model.text_encoders) == 1:
                found[f"lora_te_{key}"] = module
    return found


def _layers(module: nn.Module) -> list[tuple[str, nn.Module]]:
    return [(name, part) for name, part in module.named_modules() if isinstance(part, (nn.Linear, nn.Conv2d))]


def original_name(name: str, layers: int, attending: set[str]) -> str | None:
    """The name of a UNet's module in the ldm and sgm code, with underscores; None where it has none.

    Args:
        layers: residual blocks per level.
        attending: names of the up blocks with attention; there the upsampler stands third, else second.
    """
    if name in _TOP:
        return _TOP[name]
    middle = _MIDDLE.fullmatch(name)
    if middle:
        place = 1 if middle[1] == "attentions" else 2 * int(middle[2])
        return f"middle_block_{place}_{_inner(middle[1], middle[3])}"
    block = _BLOCK.fullmatch(name)
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


def _inner(kind: str, rest: str) -> str:
    return _RESIDUAL.get(rest, rest) if kind == "resnets" else rest.replace(".", "_")
