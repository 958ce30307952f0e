"""reForge's live model as ours, over the same memory. Seen with main, commit 3b56b268.

An A1111 model whose UNet, VAE and text encoders are ComfyUI's (modules_forge/forge_loader.py, load_model_for_a1111). Those
of a checkpoint that a generation has loaded, and those a LoRA is merged into, are inference tensors.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from pivotal.errors import FormatError, HostError
from pivotal.hosts.forge_guard import Guard
from pivotal.hosts.forge_model import WHOLE, alias, computable
from pivotal.models.build import build_model, part_of
from pivotal.models.diffusion import DiffusionModel, TextEncoder
from pivotal.models.families import FAMILIES, Prediction
from pivotal.models.ldm_layout import ENCODERS, UNET, VAE, Facts, known_facts
from pivotal.models.ldm_layout_unet import refuse_relatives
from pivotal.models.schedule import overridden
from pivotal.prompts.chunks import COMMA_BACKTRACK

TEXT = {("clip_l",): "sd1", ("clip_h",): "sd2", ("clip_l", "clip_g"): "sdxl"}
KINDS = ("BaseModel", "SDXL")  # their UNets, of model_base.py; others share the text encoders, as Flux with SD 3
PREDICTIONS: Mapping[str, Prediction] = {"EPS": "epsilon", "V_PREDICTION": "v"}


def family_of(model: Any) -> str:
    """"sd1", "sd2", "sdxl", or what the host calls a family that we do not have ("Flux").

    By the text encoders' names, since is_sd2 is never true: it looks for a part that no encoder has here.
    """
    parts = getattr(model, "forge_objects_original", None)
    if parts is None or getattr(parts.clip, "cond_stage_model", None) is None:
        return "unknown"
    names = tuple(name for name, _ in parts.clip.cond_stage_model.named_children())
    kind = type(parts.unet.model).__name__
    return TEXT.get(names, kind) if kind in KINDS else kind


def refuse_what_cannot_be_shared(model: Any) -> None:
    """Raises HostError when it is of another family, or its weights are stored in a format that cannot be trained on."""
    name, family = Path(model.sd_checkpoint_info.filename).name, family_of(model)
    if family not in FAMILIES:
        raise HostError(f"{name} cannot be trained on: the WebUI has it as {family}. "
                        "Expected Stable Diffusion 1.x, 2.x or XL (not its refiner).")
    try:
        refuse_relatives(part_of(live_tensors(model), UNET), FAMILIES[family])
    except FormatError as error:
        raise HostError(f"{name} cannot be trained on: {error}") from error
    stored = {weight.dtype for weight in _unet(model).parameters()}
    if not stored <= set(WHOLE):
        raise HostError(f"the weights are stored as {', '.join(sorted(map(str, stored)))}. Start the WebUI without "
                        "--unet-in-fp8-e4m3fn and the like to train; a checkpoint that is itself stored so cannot be trained on.")


def take_out_networks(model: Any) -> None:
    """Undoes the LoRAs that the last generation left in the weights, and brings all parts to where they are computed on.

    Raises:
        HostError: there is too little memory for the whole UNet.
    """
    from ldm_patched.modules import model_management

    parts = model.forge_objects_original
    with torch.inference_mode():  # as the host does it
        model_management.load_models_gpu([parts.unet, parts.clip.patcher, parts.vae.patcher])
    device = model_management.get_torch_device().type
    if any(weight.device.type != device for weight in _unet(model).parameters()):
        raise HostError("the WebUI keeps a part of the UNet outside of the GPU's memory, for there is too little. "
                        "Start it with --always-high-vram, or close other programs that use the GPU.")


def live_tensors(model: Any) -> dict[str, Tensor]:
    """Aliases of the model's tensors under the names that checkpoint files have; text encoders have transformers' names."""
    parts, family = model.forge_objects_original, FAMILIES[family_of(model)]
    found = _aliases(UNET, _unet(model)) | _aliases(VAE, parts.vae.first_stage_model)
    for prefix, encoder in zip(ENCODERS[family.name], family.encoders, strict=True):
        part = getattr(parts.clip.cond_stage_model, encoder.name)
        found |= _aliases(prefix, part.transformer)
        if family.size_ids and prefix.endswith(".model."):
            found[prefix + "text_projection"] = alias(part.text_projection)  # as it is in the file, not transformers' own
    return found


def model_over(model: Any, tokenizer: Any) -> tuple[DiffusionModel, dict[str, Tensor]]:
    """Ours, and the aliases of the host's tensors that it is made of.

    Raises:
        HostError: a tensor is missing or unknown, or it predicts something else than noise or velocity.
    """
    name = Path(model.sd_checkpoint_info.filename).name
    sampling = model.forge_objects_original.unet.model.model_sampling
    kinds = [kind.__name__ for kind in type(sampling).__mro__ if kind.__name__ in PREDICTIONS]
    if not kinds or not hasattr(sampling, "sigmas"):
        raise HostError(f"{name} predicts neither noise nor velocity; nothing else can be trained.")
    tensors = live_tensors(model)
    try:
        # V_PREDICTION is made from EPS, and comes first.
        lent = build_model(tensors, tokenizer=tokenizer, prediction=PREDICTIONS[kinds[0]], facts=_facts(model, tensors),
                           alphas_cumprod=1 / (sampling.sigmas.float() ** 2 + 1))
    except FormatError as error:
        raise HostError(f"{name} cannot be trained on: {error}") from error
    return _as_set(model, lent), tensors


class ReforgeGuard(Guard):
    """As Forge's: another checkpoint gets a model of its own, and a LoRA tensors of its own. But a VAE is written into the
    tensors of the one before (sd_vae.py, _load_vae_dict)."""

    def __init__(self, model: Any, aliases: Mapping[str, Tensor]):
        super().__init__(model, aliases)
        self._vae = _vae_of(model)

    def changed(self) -> str | None:
        change = super().changed()
        if change is None and _vae_of(self.model) != self._vae:
            return f"The WebUI has loaded another VAE than {self._vae or 'the checkpoint'}'s; choose that again to resume."
        return change


def _vae_of(model: Any) -> str | None:
    file = getattr(model, "loaded_vae_file", None)
    return Path(file).name if file else None


def _unet(model: Any) -> nn.Module:
    unet: nn.Module = model.forge_objects_original.unet.model.diffusion_model
    return unet


def _aliases(prefix: str, module: nn.Module) -> dict[str, Tensor]:
    """The wrapped token table is listed twice (sd_hijack.py, EmbeddingsWithFixes), and comes out once."""
    return {prefix + name.replace(".wrapped.", "."): alias(tensor) for name, tensor in module.state_dict().items()}


def _facts(model: Any, tensors: Mapping[str, Tensor]) -> Facts:
    """With the attention's heads, which no tensor tells, as the host has them."""
    info = model.sd_checkpoint_info
    config = Path(info.filename).with_suffix(".yaml")
    facts = known_facts(FAMILIES[family_of(model)], tensors, _metadata(Path(info.filename)),
                        yaml.safe_load(config.read_text(encoding="utf-8")) if config.is_file() else None)
    unet = model.forge_objects_original.unet.model.model_config.unet_config
    heads, width = unet.get("num_heads", -1), unet.get("num_head_channels", -1)
    return replace(facts, heads=heads if heads > 0 else None, head_width=width if width > 0 else None)


def _metadata(path: Path) -> Mapping[str, str]:
    """Of the file, since the host throws away what it has read of it (sd_models.py, force_memory_deallocation)."""
    try:
        with safe_open(str(path), framework="pt") as opened:
            return opened.metadata() or {}
    except (SafetensorError, OSError):  # a .ckpt has none
        return {}


def _as_set(model: Any, lent: DiffusionModel) -> DiffusionModel:
    """`lent` with the schedule, clip skip and word wrap of the host's settings, and text encoders that can be computed with."""
    from modules import shared

    # The host rescales the schedule while it samples (processing.py).
    if getattr(shared.opts, "sd_noise_schedule", "Default") == "Zero Terminal SNR" or getattr(model, "ztsnr", False):
        lent = overridden(lent, zero_terminal_snr=True)
    skip = int(shared.opts.CLIP_stop_at_last_layers)
    encoders = tuple(computable(_with_skip(encoder, skip), lent.device) for encoder in lent.text_encoders)
    return replace(lent, text_encoders=encoders, clip_skip=skip,
                   comma_backtrack=int(getattr(shared.opts, "comma_padding_backtrack", COMMA_BACKTRACK)))


def _with_skip(encoder: TextEncoder, skip: int) -> TextEncoder:
    """Clip skip counts from the last layer here, and is heard from 3 on where 2 is the usual one (forge_clip.py)."""
    if skip > encoder.rules.layer:
        return replace(encoder, rules=replace(encoder.rules, layer=1, clip_skip=True))
    return encoder
