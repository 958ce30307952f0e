"""A model in diffusers' own layout: a folder with model_index.json and a folder for each part."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import nn
from transformers import CLIPTextModel, CLIPTextModelWithProjection

from pivotal.errors import FormatError
from pivotal.models.diffusion import DiffusionModel, TextEncoder
from pivotal.models.families import SD1, SD2, SDXL, Encoder, Family
from pivotal.models.ldm_layout_unet import INPUTS
from pivotal.models.schedule import ddpm_schedule, to_zero_terminal_snr

PIPELINES = {"StableDiffusionPipeline": None, "StableDiffusionInpaintPipeline": None,
             "StableDiffusionXLPipeline": SDXL, "StableDiffusionXLInpaintPipeline": SDXL}
TEXT_FOLDERS = ("text_encoder", "text_encoder_2")


@dataclass(frozen=True)
class Described:
    """What is known of a checkpoint without loading it."""

    family: Family
    widths: tuple[int, ...]  # of a vector in each text encoder
    resolution: int  # px
    blocks: int  # input blocks of the UNet, as the original code counts them; 0: unknown


def describe(folder: Path) -> Described:
    """What lies in a folder.

    Raises:
        FormatError: a part is missing or of another kind.
    """
    kind = _config(folder, "model_index.json").get("_class_name")
    if kind not in PIPELINES:
        raise FormatError(f"{folder.name} is a {kind}; expected Stable Diffusion 1.x, 2.x or XL.")
    first = _config(folder, "text_encoder/config.json")
    family = PIPELINES[kind] or (SD2 if first.get("hidden_act") == "gelu" else SD1)
    widths = tuple(_config(folder, f"{name}/config.json").get("hidden_size") for name in TEXT_FOLDERS[: len(family.encoders)])
    unet = _config(folder, "unet/config.json")
    side, levels, layers = unet.get("sample_size"), unet.get("block_out_channels", ()), unet.get("layers_per_block", 2)
    if unet.get("in_channels", 4) not in INPUTS:
        raise FormatError(f"{folder.name}: its UNet takes {unet['in_channels']} channels; only text-to-image (4) and "
                          "inpainting (9) checkpoints are supported.")
    return Described(family, widths, side * 8 if isinstance(side, int) else family.resolution,
                     len(levels) * (layers + 1) if isinstance(layers, int) else 0)


def load(folder: Path, tokenizer: Any, device: torch.device) -> DiffusionModel:
    """The model on `device`: fp32 on a CPU; else the VAE in fp32 and the rest in fp16."""
    described = describe(folder)
    family = described.family
    schedule = _config(folder, "scheduler/scheduler_config.json")
    half = torch.float32 if device.type == "cpu" else torch.float16
    try:
        unet = _part(UNet2DConditionModel, folder, "unet", device, half)
        vae = _part(AutoencoderKL, folder, "vae", device, torch.float32)
        encoders = [
            TextEncoder(_part(_text_class(family, index), folder, TEXT_FOLDERS[index], device, half), _rules(family, rules))
            for index, rules in enumerate(family.encoders)
        ]
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise FormatError(f"{folder.name} cannot be loaded: {str(error).splitlines()[0]}") from error
    alphas = ddpm_schedule()
    if schedule.get("rescale_betas_zero_snr"):
        alphas = to_zero_terminal_snr(alphas)
    return DiffusionModel(family, unet, vae, tuple(encoders), tokenizer, alphas,
                          "v" if schedule.get("prediction_type") == "v_prediction" else "epsilon", described.resolution)


def _text_class(family: Family, index: int) -> type:
    return CLIPTextModelWithProjection if family is SDXL and index == 1 else CLIPTextModel


def _rules(family: Family, rules: Encoder) -> Encoder:
    """diffusers' SD 2 leaves the last layer out, so that its last one is the penultimate."""
    return replace(rules, layer=1) if family is SD2 else rules


def _part(kind: Any, folder: Path, name: str, device: torch.device, dtype: torch.dtype) -> nn.Module:
    whole = any((folder / name).glob("*model.safetensors")) or any((folder / name).glob("*model.bin"))
    part = kind.from_pretrained(str(folder / name), local_files_only=True, variant=None if whole else "fp16")
    return part.to(device, dtype).requires_grad_(False).eval()


def _config(folder: Path, name: str) -> Mapping[str, Any]:
    try:
        content = json.loads((folder / name).read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise FormatError(f"{folder.name} has no readable {name}; the folder is incomplete.") from error
    if not isinstance(content, dict):
        raise FormatError(f"{folder / name} holds no settings.")
    return content
