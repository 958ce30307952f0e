"""A model in diffusers' own layout: a folder with model_index.json and a folder for each part."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import nn
from transformers import CLIPTextModel, CLIPTextModelWithProjection

from pivotal.errors import FormatError
from pivotal.models.build import ddpm_schedule
from pivotal.models.diffusion import DiffusionModel, TextEncoder
from pivotal.models.families import SD1, SD2, SDXL, Encoder, Family

PIPELINES = {"StableDiffusionPipeline": None, "StableDiffusionXLPipeline": SDXL}
TEXT_FOLDERS = ("text_encoder", "text_encoder_2")


def describe(folder: Path) -> tuple[Family, tuple[int, ...], int]:
    """Family, widths of the text encoders, and side in px.

    Raises:
        FormatError: a part is missing or of another kind.
    """
    kind = _config(folder, "model_index.json").get("_class_name")
    if kind not in PIPELINES:
        raise FormatError(f"{folder.name} is a {kind}; expected Stable Diffusion 1.x, 2.x or XL.")
    first = _config(folder, "text_encoder/config.json")
    family = PIPELINES[kind] or (SD2 if first.get("hidden_act") == "gelu" else SD1)
    widths = tuple(_config(folder, f"{name}/config.json").get("hidden_size") for name in TEXT_FOLDERS[: len(family.encoders)])
    side = _config(folder, "unet/config.json").get("sample_size")
    return family, widths, side * 8 if isinstance(side, int) else family.resolution


def load(folder: Path, tokenizer: Any, device: torch.device) -> DiffusionModel:
    """The model on `device`: fp32 on a CPU; else the VAE in fp32 and the rest in fp16."""
    family, _, resolution = describe(folder)
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
    return DiffusionModel(family, unet, vae, tuple(encoders), tokenizer, ddpm_schedule(),
                          "v" if schedule.get("prediction_type") == "v_prediction" else "epsilon", resolution)


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
    except (OSError, ValueError) as error:
        raise FormatError(f"{folder.name} has no readable {name}; the folder is incomplete.") from error
    if not isinstance(content, dict):
        raise FormatError(f"{folder / name} holds no settings.")
    return content
