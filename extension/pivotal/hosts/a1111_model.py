"""AUTOMATIC1111's live model as ours, over the same tensors. Seen with 1.10.1."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor, nn

from pivotal.errors import FormatError, HostError
from pivotal.models.build import build_model
from pivotal.models.diffusion import DiffusionModel
from pivotal.models.families import Prediction
from pivotal.models.ldm_layout import detect_family, known_facts

log = logging.getLogger(__name__)

PREDICTIONS: Mapping[str, Prediction] = {"eps": "epsilon", "v": "v"}


def family_of(model: Any) -> str:
    """"sd1", "sd2", "sdxl", or what the host calls a family that we do not have ("SD3")."""
    for family in ("sd1", "sd2", "sdxl"):
        if getattr(model, f"is_{family}", False):
            return family
    return getattr(getattr(model, "model_type", None), "name", "unknown")


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
        return build_model(
            tensors, tokenizer=tokenizer, prediction=PREDICTIONS[parameterization], facts=facts,
            # `alphas_cumprod` may have been rewritten to zero terminal SNR by an option, one generation late; this not.
            alphas_cumprod=getattr(model, "alphas_cumprod_original", None))
    except FormatError as error:
        raise HostError(f"{name} cannot be trained on: {error}") from error


def _config(model: Any) -> Any:
    """The yaml that the host built the model from: it knows the attention's heads, which no tensor tells."""
    path = Path(getattr(model, "used_config", ""))
    return yaml.safe_load(path.read_text(encoding="utf-8")) if path.is_file() else None


@contextmanager
def unharmed(model: nn.Module) -> Iterator[None]:
    """On exit, raised through or not, no parameter has a gradient or flag that it had not before; says so if one had.

    Ours are other Parameter objects over the same memory, so this is a watch, not a remedy; but a write in place would
    be one into the user's checkpoint, and the version counter, which both share, tells of it.
    """
    before = [(name, weight, weight.requires_grad, weight.grad, weight._version)
              for name, weight in model.named_parameters()]
    try:
        yield
    finally:
        for name, weight, requires_grad, grad, version in before:
            if weight.requires_grad != requires_grad or weight.grad is not grad:
                log.error("The run left a gradient or a flag on the WebUI's %s; it is removed.", name)
                weight.requires_grad_(requires_grad)
                weight.grad = grad
            if weight._version != version:
                log.error("The run wrote into the WebUI's %s; load the checkpoint again.", name)
