"""SD.Next's pipeline as a model of ours, over the same tensors. Seen with 058a7f0 (July 2026)."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTextModelWithProjection

from pivotal.errors import FormatError, HostError
from pivotal.models.build import fill
from pivotal.models.diffusion import DiffusionModel, TextEncoder
from pivotal.models.families import FAMILIES, Encoder, Family, Prediction
from pivotal.models.ldm_layout_unet import INPUTS
from pivotal.models.schedule import ddpm_schedule

PREDICTIONS: Mapping[str, Prediction] = {"epsilon": "epsilon", "v_prediction": "v"}
ENCODERS = ("text_encoder", "text_encoder_2")
PARTS = ("unet", "vae", *ENCODERS)
EXPECTED = "expected Stable Diffusion 1.x, 2.x or XL"


def parts_of(pipe: Any) -> dict[str, nn.Module]:
    """The pipeline's modules by name, as they were before torch.compile wrapped them; those it has."""
    found = {name: getattr(pipe, name, None) for name in PARTS}
    return {name: getattr(part, "_orig_mod", part) for name, part in found.items() if isinstance(part, nn.Module)}


def family_of(pipe: Any) -> str:
    """"sd1", "sd2" or "sdxl"; the pipeline's class where it is none of them.

    By the modules: the host's `is_sd1` is true for every pipeline (sd_models.py, set_defaults).
    """
    parts = parts_of(pipe)
    kinds = [type(parts[name]).__name__ for name in ENCODERS if name in parts]
    if type(parts.get("unet")).__name__ == "UNet2DConditionModel" and "transformer" not in vars(pipe):
        if kinds == ["CLIPTextModel", "CLIPTextModelWithProjection"]:
            return "sdxl"
        if kinds == ["CLIPTextModel"]:
            return "sd2" if parts["text_encoder"].config.hidden_act == "gelu" else "sd1"
    return type(pipe).__name__


def input_blocks(pipe: Any) -> int:
    """How many the original code counts in its UNet; 0 when it has none of ours."""
    config = getattr(parts_of(pipe).get("unet"), "config", None)
    layers = getattr(config, "layers_per_block", None)
    return len(config.block_out_channels) * (layers + 1) if isinstance(layers, int) else 0


def refuse_other_families(pipe: Any) -> None:
    """Raises HostError when the pipeline is none that can be trained; looks, and touches nothing."""
    name, parts = pipe.sd_checkpoint_info.name, parts_of(pipe)
    family = family_of(pipe)
    if family not in FAMILIES:
        raise HostError(f"{name} cannot be trained on: it is a {family}; {EXPECTED}.")
    inputs = parts["unet"].config.in_channels
    if inputs not in INPUTS:
        raise HostError(f"{name} cannot be trained on: its UNet takes {inputs} channels; only text-to-image (4) and "
                        "inpainting (9) checkpoints are supported.")
    if not isinstance(parts.get("vae"), AutoencoderKL):
        raise HostError(f"{name} cannot be trained on with the VAE {type(getattr(pipe, 'vae', None)).__name__}; choose another "
                        "one in Settings > Variational Auto Encoder.")


def refuse_what_cannot_be_shared(pipe: Any) -> None:
    """Raises HostError when weights are stored in a format that cannot be trained on, or are not there."""
    name = pipe.sd_checkpoint_info.name
    for part, module in parts_of(pipe).items():
        for path, weight in module.named_parameters():
            if weight.is_meta:
                raise HostError(f"the weights of {name} are unloaded ({part}). Load the model again: System > Reload model.")
            if not weight.is_floating_point() or weight.element_size() < 2:  # SDNQ, bitsandbytes, quanto; fp8 storage
                raise HostError(f"the weights of {name} are quantized ({part}.{path} is {weight.dtype}). "
                                "Disable Settings > Model Quantization and load the model again to train.")
    part = misplaced(pipe)
    if part is not None:
        raise HostError(f"the weights of {name} are kept elsewhere than they are used ({part}). Set "
                        "Settings > Model Offloading > Model offload mode to none, balanced or model to train.")


def misplaced(pipe: Any) -> str | None:
    """The first of the pipeline's modules that is not where it is used."""
    from modules import devices

    used = torch.device(devices.device).type
    return next((name for name, part in parts_of(pipe).items() if next(part.parameters()).device.type != used), None)


def model_over(pipe: Any, tokenizer: Any) -> DiffusionModel:
    """Ours: modules of our own, every parameter sharing memory with the host's, so that hooks, networks, flags and
    compiled or patched forwards of either never meet.

    Raises:
        HostError: it predicts something else than noise or velocity, or something is attached to its modules.
    """
    name, parts = pipe.sd_checkpoint_info.name, parts_of(pipe)
    family = FAMILIES[family_of(pipe)]
    scheduler = getattr(pipe, "default_scheduler", None) or pipe.scheduler  # the latter is the last sampler's
    prediction = getattr(scheduler.config, "prediction_type", "epsilon")
    if prediction not in PREDICTIONS:
        raise HostError(f"{name} predicts {prediction!r}; only noise (epsilon) and velocity (v_prediction) can be trained.")
    try:
        unet = _twin(parts["unet"], UNet2DConditionModel, "UNet")
        vae = _twin(parts["vae"], AutoencoderKL, "VAE")
        encoders = tuple(_text_encoder(parts[part], rules, family)
                         for part, rules in zip(ENCODERS, family.encoders, strict=False))
    except FormatError as error:
        raise HostError(f"{name} cannot be trained on: {error}") from error
    if family.size_ids and vae.dtype == torch.float16 and getattr(vae.config, "force_upcast", True):
        vae = vae.float()  # SDXL's own overflows in half precision; a copy of 330 MB, the host upcasts its own when it decodes
    side = unet.config.sample_size
    return DiffusionModel(family, unet, vae, encoders, tokenizer, _schedule(scheduler), PREDICTIONS[prediction],
                          side * 8 if isinstance(side, int) else family.resolution)


def _schedule(scheduler: Any) -> Tensor:
    alphas = getattr(scheduler, "alphas_cumprod", None)
    return ddpm_schedule() if alphas is None or len(alphas) != 1000 else alphas.detach().float().cpu()


def _tensors(module: nn.Module) -> dict[str, Tensor]:
    # Some transformers versions keep the positions 0..76 in the state.
    return {name: tensor.detach() for name, tensor in module.state_dict().items() if not name.endswith(".position_ids")}


def _twin(module: nn.Module, kind: Any, part: str) -> nn.Module:
    with torch.device("meta"):
        twin = kind.from_config(module.config)
    return fill(twin, _tensors(module), part)


def _text_encoder(module: nn.Module, rules: Encoder, family: Family) -> TextEncoder:
    """The host appends a row to the token table for every vector of every embedding it loads (textual_inversion.py)."""
    config = copy.deepcopy(module.config)
    config.vocab_size = len(module.get_input_embeddings().weight)
    kind = CLIPTextModelWithProjection if isinstance(module, CLIPTextModelWithProjection) else CLIPTextModel
    with torch.device("meta"):
        twin = kind(config)
    inner = getattr(twin, "text_model", twin)
    # On the meta device it has no values, and no state of the host's has any.
    positions = torch.arange(config.max_position_embeddings, device=next(module.parameters()).device)[None]
    inner.embeddings.register_buffer("position_ids", positions, persistent=False)
    # diffusers leaves out SD 2's last layer, which is not used.
    rules = replace(rules, layer=1) if family.name == "sd2" else rules
    return TextEncoder(fill(twin, _tensors(module), f"text encoder ({rules.name})"), rules)
