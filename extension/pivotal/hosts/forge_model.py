"""Forge's live model as ours, over the same memory. Seen with f2.0.1v1.10.1.

Its tensors were made in inference mode, and neither their detached selves nor `.data` may enter a backward pass; another
tensor over the same storage may. Its own UNet class cannot be trained through at all: it adds in place
(backend/nn/unet.py, BasicTransformerBlock).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from pivotal.errors import FormatError, HostError
from pivotal.models.build import build_model
from pivotal.models.diffusion import DiffusionModel, TextEncoder
from pivotal.models.families import FAMILIES, Prediction
from pivotal.models.ldm_layout import ENCODERS, UNET, VAE, Facts, known_facts
from pivotal.models.schedule import overridden

PREDICTIONS: Mapping[str, Prediction] = {"epsilon": "epsilon", "v_prediction": "v"}
WHOLE = (torch.float32, torch.float16, torch.bfloat16)


def family_of(model: Any) -> str:
    """"sd1", "sd2", "sdxl", or the name of the host's class for a family that we do not have ("Flux")."""
    for family in ("sd1", "sd2", "sdxl"):
        # The refiner says that it is an SDXL; it lacks the first text encoder.
        if getattr(model, f"is_{family}", False) and all(name in _text_parts(model) for name in _names(family)):
            return family
    return type(model).__name__


def input_blocks(model: Any) -> int:
    """How many the UNet has: 12 in SD 1 and SD 2, 9 in SDXL; 0 when it is no such UNet."""
    blocks = getattr(model.forge_objects.unet.model.diffusion_model, "input_blocks", None)
    return 0 if blocks is None else len(list(blocks.children()))


def refuse_what_cannot_be_shared(model: Any) -> None:
    """Raises HostError when it is of another family, or its weights are stored in a format that cannot be trained on."""
    name, family = Path(model.sd_checkpoint_info.filename).name, family_of(model)
    if family not in FAMILIES:
        raise HostError(f"{name} cannot be trained on: the WebUI has it as {family}. "
                        "Expected Stable Diffusion 1.x, 2.x or XL (not its refiner).")
    kmodel = model.forge_objects_original.unet.model
    if kmodel.storage_dtype not in WHOLE or any(weight.dtype not in WHOLE for weight in kmodel.diffusion_model.parameters()):
        raise HostError(f"the weights are stored as {kmodel.storage_dtype}. Set \"Diffusion in Low Bits\" to Automatic, at "
                        "the top of the page, and start the WebUI without --unet-in-fp8-e4m3fn and the like to train; a "
                        "checkpoint that is itself stored so cannot be trained on.")
    predicted = kmodel.predictor.prediction_type
    if predicted not in PREDICTIONS:
        raise HostError(f"{name} predicts {predicted!r}; only noise (epsilon) and velocity (v_prediction) can be trained.")


def take_out_networks(model: Any) -> None:
    """Undoes the LoRAs that the last generation left in the weights, and brings all parts to where they are computed on.

    Asking the host for its unpatched parts is the one way that leaves its books right: after `refresh_loras` alone it
    believes a LoRA to be in the weights still, and leaves it out of the next prompt that has it.

    Raises:
        HostError: there is too little memory for the whole UNet.
    """
    from backend import memory_management

    parts = model.forge_objects_original
    with torch.inference_mode():  # as in the host: what is moved outside of it is neither an inference tensor nor another
        memory_management.load_models_gpu([parts.unet, parts.clip.patcher, parts.vae.patcher])
    device = memory_management.get_torch_device().type
    if any(weight.device.type != device for weight in parts.unet.model.diffusion_model.parameters()):
        raise HostError("the WebUI keeps a part of the UNet outside of the GPU's memory, for there is too little. "
                        "Raise \"GPU Weights\" at the top of the page, or close other programs that use the GPU.")


def alias(tensor: Tensor) -> Tensor:
    """Another tensor over the same memory, that autograd can save whatever mode `tensor` was made in."""
    tensor = tensor.detach()
    made = torch.empty(0, dtype=tensor.dtype, device=tensor.device)
    return made.set_(tensor.untyped_storage(), tensor.storage_offset(), tensor.size(), tensor.stride())


def live_tensors(model: Any) -> dict[str, Tensor]:
    """Aliases of the model's tensors under the names that checkpoint files have.

    The second text encoder of SDXL, and SD 2's, keep the names of transformers, under which the host has them.
    """
    parts, family = model.forge_objects_original, family_of(model)
    found = dict(_named(UNET, parts.unet.model.diffusion_model.state_dict()))
    found |= _named(VAE, parts.vae.first_stage_model.state_dict())
    for prefix, name in zip(ENCODERS[family], _names(family), strict=True):
        found |= _named(prefix, getattr(parts.clip.cond_stage_model, name).transformer.state_dict())
    return found


def _named(prefix: str, tensors: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    wrapped = {name for name in tensors if ".wrapped." in name}
    doubles = {name.replace(".wrapped.", ".") for name in wrapped}
    for name, tensor in tensors.items():
        if name not in doubles:  # the wrapped token table is listed twice (backend/text_processing/classic_engine.py)
            yield prefix + name.replace(".wrapped.", "."), alias(tensor)


def model_over(model: Any, tokenizer: Any) -> tuple[DiffusionModel, dict[str, Tensor]]:
    """Ours, and the aliases of the host's tensors that it is made of.

    Raises:
        HostError: a tensor is missing or unknown.
    """
    tensors = live_tensors(model)
    predictor = model.forge_objects_original.unet.model.predictor
    name = Path(model.sd_checkpoint_info.filename).name
    try:
        lent = build_model(tensors, tokenizer=tokenizer, prediction=PREDICTIONS[predictor.prediction_type],
                           facts=_facts(model, tensors), alphas_cumprod=getattr(predictor, "alphas_cumprod", None))
    except FormatError as error:
        raise HostError(f"{name} cannot be trained on: {error}") from error
    return _as_set(model, lent), tensors


def _facts(model: Any, tensors: Mapping[str, Tensor]) -> Facts:
    """With the attention's heads, which no tensor tells, as the host has them."""
    info = model.sd_checkpoint_info
    config = Path(info.filename).with_suffix(".yaml")
    facts = known_facts(FAMILIES[family_of(model)], tensors, info.metadata,
                        yaml.safe_load(config.read_text(encoding="utf-8")) if config.is_file() else None)
    unet = model.forge_objects_original.unet.model.diffusion_model.config
    heads, width = unet.get("num_heads", -1), unet.get("num_head_channels", -1)
    return replace(facts, heads=heads if heads > 0 else None, head_width=width if width > 0 else None)


def _as_set(model: Any, lent: DiffusionModel) -> DiffusionModel:
    """`lent` with the schedule and the clip skip of the host's settings, and text encoders that can be computed with."""
    from modules import shared

    # The host rescales the schedule while it samples, and then puts the old one back (processing.py).
    if shared.opts.sd_noise_schedule == "Zero Terminal SNR" or getattr(model.model_config, "ztsnr", False):
        lent = overridden(lent, zero_terminal_snr=True)
    skip = int(shared.opts.CLIP_stop_at_last_layers)
    encoders = [computable(_with_skip(encoder, lent, skip), lent.device) for encoder in lent.text_encoders]
    return replace(lent, text_encoders=tuple(encoders), clip_skip=skip)


def _with_skip(encoder: TextEncoder, lent: DiffusionModel, skip: int) -> TextEncoder:
    """Clip skip counts from the last layer here, whatever the family's usual one (classic_engine.py).

    SDXL's is the second to last, and what is asked for counts from 3 on. SD 2 has its last layer cut off when loaded.
    """
    if lent.family.name == "sd2" or (lent.family.name == "sdxl" and skip > encoder.rules.layer):
        return replace(encoder, rules=replace(encoder.rules, layer=1, clip_skip=True))
    return encoder


def computable(encoder: TextEncoder, device: torch.device) -> TextEncoder:
    """In one format, on one device with the UNet; copies what is not.

    The host computes in another format than it stores text encoders in: fp16 on a CPU as well, which is slow there, 8 bit
    floats (--clip-in-fp8-e4m3fn), in which nothing can be computed; and token and position tables become fp32 at the first
    prompt.
    """
    inner = getattr(encoder.module, "text_model", encoder.module)
    stored = inner.encoder.layers[0].mlp.fc1.weight.dtype
    usual = stored if stored in WHOLE else torch.float16
    encoder.module.to(device, torch.float32 if device.type == "cpu" else usual)
    return encoder


def _text_parts(model: Any) -> Mapping[str, Any]:
    return dict(model.forge_objects.clip.cond_stage_model.named_children())


def _names(family: str) -> tuple[str, ...]:
    return tuple(encoder.name for encoder in FAMILIES[family].encoders)
