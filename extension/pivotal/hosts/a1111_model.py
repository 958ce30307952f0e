"""AUTOMATIC1111's live model as ours, over the same tensors. Seen with 1.10.1."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from pivotal.errors import FormatError, HostError
from pivotal.models.build import build_model, part_of
from pivotal.models.diffusion import DiffusionModel
from pivotal.models.families import Prediction
from pivotal.models.ldm_layout import UNET, detect_family, known_facts, refuse_others
from pivotal.models.ldm_layout_unet import refuse_relatives
from pivotal.models.schedule import overridden
from pivotal.prompts.chunks import COMMA_BACKTRACK

log = logging.getLogger(__name__)

PREDICTIONS: Mapping[str, Prediction] = {"eps": "epsilon", "v": "v"}


def family_of(model: Any) -> str:
    """"sd1", "sd2", "sdxl", or what the host calls a family that we do not have ("SD3")."""
    for family in ("sd1", "sd2", "sdxl"):
        if getattr(model, f"is_{family}", False):
            return family
    return getattr(getattr(model, "model_type", None), "name", "unknown")


def input_blocks(model: Any) -> int:
    """How many the UNet has: 12 in SD 1 and SD 2, 9 in SDXL; 0 when it is no such UNet."""
    unet = getattr(getattr(model, "model", None), "diffusion_model", None)
    blocks = getattr(unet, "input_blocks", None)
    return 0 if blocks is None else len(list(blocks.children()))


def refuse_other_families(model: Any) -> None:
    """Raises HostError when the model is none that can be trained; looks, and touches nothing."""
    tensors = live_tensors(model)
    try:
        refuse_relatives(part_of(tensors, UNET), detect_family(tensors))
    except FormatError as error:
        raise HostError(f"{Path(model.sd_checkpoint_info.filename).name} cannot be trained on: {error}") from error


def refuse_other_file(path: Path) -> None:
    """Raises HostError when a checkpoint file is plainly of no family of ours, so that it need not be loaded for that.

    A file that tells nothing by its header (.ckpt, or damaged) is left to the host.
    """
    if path.suffix.lower() != ".safetensors":
        return
    try:
        with safe_open(str(path), framework="pt") as opened:
            refuse_others(opened.keys())
    except FormatError as error:
        raise HostError(f"{path.name} cannot be trained on: {error}") from error
    except (SafetensorError, OSError):
        return


def take_out_networks(model: nn.Module) -> None:
    """Undoes the LoRAs that the last generation left in the weights; the next one with a LoRA puts them in again.

    The host adds them into the weights, keeps a copy of each weight, and takes them out no sooner than another
    generation's forward (extensions-builtin/Lora/networks.py, network_apply_weights).
    """
    networks = sys.modules.get("networks")  # a top-level module of the built-in extension; absent when that is disabled
    restore = getattr(networks, "network_restore_weights_from_backup", None)
    if restore is None:
        return
    with torch.no_grad():
        for module in model.modules():
            if getattr(module, "network_current_names", ()) != ():
                restore(module)
                module.network_current_names = ()


def refuse_what_cannot_be_shared(model: Any) -> None:
    """Raises HostError when weights would move or are stored in a format that cannot be trained on."""
    from modules import devices

    if getattr(model, "lowvram", False):
        raise HostError("the WebUI was started with --lowvram, --medvram or --medvram-sdxl and moves the weights while "
                        "they are used. Start it without that flag to train.")
    weights = list(model.model.parameters())
    if getattr(devices, "fp8", False) or any("float8" in str(weight.dtype) for weight in weights):
        raise HostError("the weights are stored as 8 bit floats. "
                        "Disable Settings > Optimizations > FP8 weight to train.")
    if weights[0].device.type != torch.device(devices.device).type:
        raise HostError(f"the checkpoint was unloaded to the {weights[0].device.type}. Load it again: "
                        "Settings > Actions > Load SD checkpoint to VRAM from RAM.")


def live_tensors(model: nn.Module) -> dict[str, Tensor]:
    """The model's tensors, detached, under the names that checkpoint files have.

    The host wraps text encoders and their token tables, each time in an attribute called "wrapped" (sd_hijack.py).
    """
    return {name.replace(".wrapped.", "."): tensor.detach() for name, tensor in model.state_dict().items()}


def model_over(model: Any, tokenizer: Any) -> DiffusionModel:
    """Ours, every parameter sharing memory with the host's.

    Raises:
        HostError: it is none of the families we have, or predicts something else than noise or velocity.
    """
    name = Path(model.sd_checkpoint_info.filename).name
    parameterization = getattr(model, "parameterization", "eps")
    if parameterization not in PREDICTIONS:
        raise HostError(f"{name} predicts {parameterization!r}; only noise (eps) and velocity (v) can be trained.")
    tensors = live_tensors(model)
    try:
        family = detect_family(tensors)
        facts = known_facts(family, tensors, model.sd_checkpoint_info.metadata, _config(model))
        lent = build_model(
            tensors, tokenizer=tokenizer, prediction=PREDICTIONS[parameterization], facts=facts,
            # `alphas_cumprod` is rewritten by an option no sooner than the next generation; this never.
            alphas_cumprod=getattr(model, "alphas_cumprod_original", None))
    except FormatError as error:
        raise HostError(f"{name} cannot be trained on: {error}") from error
    return _as_set(lent)


def _as_set(model: DiffusionModel) -> DiffusionModel:
    """`model` with the schedule, the clip skip and the word wrap of the host's settings, as the next generation has them."""
    from modules import shared

    if getattr(shared.opts, "sd_noise_schedule", "Default") == "Zero Terminal SNR":
        model = overridden(model, zero_terminal_snr=True)
    encoders = model.text_encoders
    if model.family.size_ids and getattr(shared.opts, "sdxl_clip_l_skip", False):
        # Then 2 is the family's usual layer (sd_hijack_clip.py, FrozenCLIPEmbedderForSDXLWithCustomWords).
        encoders = (replace(encoders[0], rules=replace(encoders[0].rules, layer=1, clip_skip=True)), *encoders[1:])
    return replace(model, text_encoders=encoders, clip_skip=int(getattr(shared.opts, "CLIP_stop_at_last_layers", 1)),
                   comma_backtrack=int(getattr(shared.opts, "comma_padding_backtrack", COMMA_BACKTRACK)))


def _config(model: Any) -> Any:
    """The yaml that the host built the model from: it knows the attention's heads, which no tensor tells."""
    path = Path(getattr(model, "used_config", ""))
    return yaml.safe_load(path.read_text(encoding="utf-8")) if path.is_file() else None
