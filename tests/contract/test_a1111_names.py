"""The keys of our files, of full-size models, against what AUTOMATIC1111 1.10.1 makes of them.

Its rule (extensions-builtin/Lora/networks.py, convert_diffusers_name_to_compvis) is written down here again from its facts,
and its modules' names come from the original code's layout (tests/tiny.py), which knows nothing of diffusers.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

import tiny
from pivotal.config.sections.network import Blocks, Network, Targets
from pivotal.models.diffusion import TextEncoder
from pivotal.models.families import FAMILIES, Family
from pivotal.models.layers import input_blocks, layers_of
from pivotal.models.ldm_layout import Facts
from pivotal.models.ldm_layout_unet import unet_config
from pivotal.networks.choose import choose_layers

SIZES = {
    "sd1": tiny.Shape(levels=((320, 1), (640, 1), (1280, 1), (1280, 0)), layers=2, clip_width=768),
    "sd2": tiny.Shape(levels=((320, 1), (640, 1), (1280, 1), (1280, 0)), layers=2, linear=True, clip_width=None,
                      open_clip_width=1024),
    "sdxl": tiny.Shape(levels=((320, 0), (640, 2), (1280, 10)), layers=2, middle_depth=10, linear=True, clip_width=768,
                       open_clip_width=1280, pooled=1280, size_ids=True),
}
TEXTS = {"sd1": ((768, 12),), "sd2": ((1024, 24),), "sdxl": ((768, 12), (1280, 32))}
# What kohya's trainer prints when it makes a LoRA for these models (sd-scripts, networks/lora.py); of SD 2's text encoder it
# loads 23 layers, for the last is not used, and A1111 has 24 of 6.
KOHYA = {"sd1": (192, {"te1": 72}), "sd2": (192, {"te1": 144}), "sdxl": (722, {"te1": 72, "te2": 192})}
INNER = {"conv1": "in_layers_2", "conv2": "out_layers_3", "norm1": "in_layers_0", "norm2": "out_layers_0",
         "time_emb_proj": "emb_layers_1", "conv_shortcut": "skip_connection"}


@dataclass(frozen=True)
class Full:
    """As much of a full-size model as its layers' names need, without memory."""

    family: Family
    unet: Any
    text_encoders: tuple[TextEncoder, ...]


@lru_cache(maxsize=3)
def full(name):
    family, shape = FAMILIES[name], SIZES[name]
    tensors = {key: torch.empty(size, device="meta") for key, size in tiny.unet_shapes(shape).items()}
    encoders = []
    with torch.device("meta"):
        unet = UNet2DConditionModel(**unet_config(tensors, family, Facts(), family.resolution, 1280))
        for (width, layers), rules in zip(TEXTS[name], family.encoders, strict=True):
            config = CLIPTextConfig(hidden_size=width, intermediate_size=4 * width, num_hidden_layers=layers,
                                    num_attention_heads=width // 64, projection_dim=1280)
            kind = CLIPTextModelWithProjection if rules.name == "clip_g" else CLIPTextModel
            encoders.append(TextEncoder(kind(config), rules))
    return Full(family, unet, tuple(encoders))


def to_original(key):
    """The rule of A1111 for UNet keys: the name of a module, with underscores."""
    key = key.removeprefix("lora_unet_")
    down = re.match(r"down_blocks_(\d+)_(attentions|resnets)_(\d+)_(.+)", key)
    if down:
        level, kind, place, rest = int(down[1]), down[2], int(down[3]), down[4]
        return f"input_blocks_{1 + level * 3 + place}_{int(kind == 'attentions')}_{INNER.get(rest, rest)}"
    middle = re.match(r"mid_block_(attentions|resnets)_(\d+)_(.+)", key)
    if middle:
        place = 1 if middle[1] == "attentions" else 2 * int(middle[2])
        return f"middle_block_{place}_{INNER.get(middle[3], middle[3])}"
    up = re.match(r"up_blocks_(\d+)_(attentions|resnets)_(\d+)_(.+)", key)
    if up:
        level, kind, place, rest = int(up[1]), up[2], int(up[3]), up[4]
        return f"output_blocks_{level * 3 + place}_{int(kind == 'attentions')}_{INNER.get(rest, rest)}"
    sampler = re.match(r"(down|up)_blocks_(\d+)_(?:down|up)samplers_0_conv", key)
    if sampler and sampler[1] == "down":
        return f"input_blocks_{3 + int(sampler[2]) * 3}_0_op"
    if sampler:  # right for SD 1 and SD 2, wrong for SDXL's first: so that file needs the original names
        return f"output_blocks_{2 + int(sampler[2]) * 3}_{2 if int(sampler[2]) > 0 else 1}_conv"
    return key


def chosen(name):
    return choose_layers(full(name), Network(method="lora", conv_rank=4, train_norms=True),
                         Targets(text_encoder_1=True, text_encoder_2=True), Blocks())


@pytest.mark.parametrize("family", sorted(SIZES))
def test_the_usual_network_has_as_many_layers_as_kohyas(family):
    found = choose_layers(full(family), Network(method="lora"), Targets(text_encoder_1=True, text_encoder_2=True), Blocks())
    unet, texts = KOHYA[family]
    assert {part: len(layers) for part, layers in found.items()} == {"unet": unet, **texts}


@pytest.mark.parametrize("family", sorted(SIZES))
def test_every_unet_key_leads_to_a_module_of_the_host(family):
    modules = {name.rpartition(".")[0].replace(".", "_") for name in tiny.unet_shapes(SIZES[family])}
    keys = [layer.key for layer, _ in chosen(family)["unet"]]
    assert len(keys) > 250
    assert [key for key in keys if to_original(key) not in modules] == []
    assert len({to_original(key) for key in keys}) == len(keys)


@pytest.mark.parametrize("family", sorted(SIZES))
def test_every_alias_means_the_same_module(family):
    for layer in layers_of(full(family)):
        inside = layer.part == "unet" and "." in layer.path and layer.block is not None
        if inside and not (family == "sdxl" and "upsamplers" in layer.path):
            assert len({to_original(key) for key in (layer.key, *layer.aliases)}) == 1, layer


@pytest.mark.parametrize(("family", "pattern"), [
    ("sd1", r"lora_te_text_model_encoder_layers_(\d+)_(self_attn_(q|k|v|out)_proj|mlp_fc[12])"),
    ("sd2", r"lora_te_text_model_encoder_layers_(\d+)_(self_attn_(q|k|v|out)_proj|mlp_fc[12])"),
    ("sdxl", r"lora_te[12]_text_model_encoder_layers_(\d+)_(self_attn_(q|k|v|out)_proj|mlp_fc[12])")])
def test_text_encoder_keys_have_the_form_that_the_host_looks_for(family, pattern):
    found = choose_layers(full(family), Network(method="lora"), Targets(unet=False, text_encoder_1=True, text_encoder_2=True),
                          Blocks())
    keys = [layer.key for layers in found.values() for layer, _ in layers]
    assert keys and all(re.fullmatch(pattern, key) for key in keys)


def test_block_lists_have_the_lengths_that_people_know():
    assert [2 * input_blocks(full(name)) + 1 for name in ("sd1", "sd2", "sdxl")] == [25, 25, 19]


@pytest.mark.parametrize(("family", "places"), [
    # The blocks with attention: catalogued by everyone as IN01 02 04 05 07 08, M00, OUT03 to OUT11; of SDXL IN04 05 07 08,
    # M00, OUT00 to OUT05.
    ("sd1", {1, 2, 4, 5, 7, 8, 12, *range(16, 25)}), ("sdxl", {4, 5, 7, 8, 9, *range(10, 16)})])
def test_the_usual_network_stands_in_the_blocks_that_people_know(family, places):
    found = choose_layers(full(family), Network(method="lora"), Targets(), Blocks())["unet"]
    assert {layer.block for layer, _ in found} == places
