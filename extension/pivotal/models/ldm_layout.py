"""What a single-file checkpoint in the original ldm/sgm layout is, told from its tensors' names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from pivotal.errors import FormatError
from pivotal.models.families import SD1, SD2, SDXL, Family, Prediction

UNET = "model.diffusion_model."
VAE = "first_stage_model."
ENCODERS = {  # family -> where its text encoders lie; "transformer." is a CLIP of transformers, "model." an OpenCLIP
    "sd1": ("cond_stage_model.transformer.",),
    "sd2": ("cond_stage_model.model.",),
    "sdxl": ("conditioner.embedders.0.transformer.", "conditioner.embedders.1.model."),
}
WIDE = "a Stable Diffusion 1.x, 2.x or XL checkpoint in one file"

_OTHERS = (  # what else people have in these folders: a piece of its names, and what it is
    (("lora_unet_", "lora_te", ".lora_A.", ".lora_down."), "a LoRA; it belongs into the LoRA folder"),
    (("emb_params", "string_to_param", "clip_g", "clip_l"), "an embedding; it belongs into the embeddings folder"),
    (("joint_blocks.",), "a Stable Diffusion 3 checkpoint, which is not supported"),
    (("double_blocks.", "single_transformer_blocks."), "a Flux checkpoint, which is not supported"),
    (("control_model.", "input_hint_block.", "controlnet_"), "a ControlNet"),
    (("down_blocks.", "mid_block."), "one part of a diffusers model; give the folder that holds model_index.json"),
    (("encoder.down.", "decoder.up."), "a VAE alone"),
)


@dataclass(frozen=True)
class Facts:
    """What a checkpoint's tensors do not say by their shapes; None where nobody knows."""

    prediction: Prediction | None = None
    resolution: int | None = None  # px
    heads: int | None = None  # of the UNet's attention, at every level
    head_width: int | None = None  # channels of a head, at every level; excludes `heads`
    zero_terminal_snr: bool = False  # trained with a schedule whose last step is pure noise


def refuse_others(names: Iterable[str]) -> None:
    """Raises FormatError when tensors of these names are no checkpoint of our families; says what they are instead."""
    names = list(names)
    if not any(name.startswith(UNET) for name in names):
        for pieces, what in _OTHERS:
            if any(piece in name for name in names for piece in pieces):
                raise FormatError(f"it is {what}. Expected {WIDE}.")
        raise FormatError(f"it is not {WIDE}: it has no tensor under {UNET}")
    if any("joint_blocks." in name for name in names):
        raise FormatError(f"it is a Stable Diffusion 3 checkpoint, which is not supported. Expected {WIDE}.")
    if any("double_blocks." in name for name in names):
        raise FormatError(f"it is a Flux checkpoint, which is not supported. Expected {WIDE}.")
    if any(name.startswith("conditioner.embedders.0.model.") for name in names):
        raise FormatError("it is the refiner of Stable Diffusion XL; take the base checkpoint")


def detect_family(names: Iterable[str]) -> Family:
    """The family of the checkpoint with tensors of these names.

    Raises:
        FormatError: says what it is instead.
    """
    names = list(names)
    refuse_others(names)
    for family in (SD1, SD2, SDXL):
        if all(any(name.startswith(prefix) for name in names) for prefix in ENCODERS[family.name]):
            if not any(name.startswith(VAE) for name in names):
                raise FormatError("it has no VAE (no tensor under first_stage_model.); take the complete checkpoint")
            return family
    raise FormatError("it has a UNet but no text encoder of SD 1.x, 2.x or XL; take the complete checkpoint")


def known_facts(family: Family, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None,
                config: Mapping[str, Any] | None = None) -> Facts:
    """Prediction type, resolution, heads and schedule, as far as somebody wrote them down.

    Args:
        tensors: the empty ones named "v_pred" and "ztsnr" are remarks that model makers put into their files.
        metadata: of the safetensors file; `modelspec.*` is read (Stability AI's ModelSpec 1.0).
        config: the yaml beside the checkpoint, as a mapping; it outranks the metadata, as in every host.
    """
    metadata = metadata or {}
    parameters = _at(config, "model", "params")
    network = _at(parameters, "unet_config", "params") or _at(parameters, "network_config", "params")
    prediction = (_config_prediction(parameters) or _metadata_prediction(metadata)
                  or ("v" if "v_pred" in tensors else None))
    if prediction is None and family is SD2:
        # diffusers' rule (single_file_utils): 875000 is the step of the one 2.0 base that predicts noise.
        step = tensors.get("global_step")
        prediction = "epsilon" if step is not None and int(step) == 875000 else "v"
    resolution = _metadata_resolution(metadata)
    if resolution is None and family is SD1 and _positive(parameters, "image_size"):
        resolution = 8 * parameters["image_size"]  # of latents; in SD 2's yamls it is 64 also for 768 px
    if resolution is None and family is SD2 and prediction == "epsilon":
        resolution = 512  # 2.0-base and 2.1-base
    return Facts(prediction or "epsilon", resolution, _positive(network, "num_heads"),
                 _positive(network, "num_head_channels"), "ztsnr" in tensors)


def _at(value: Any, *path: str) -> Mapping[str, Any]:
    for step in path:
        value = value.get(step) if isinstance(value, Mapping) else None
    return value if isinstance(value, Mapping) else {}


def _positive(values: Mapping[str, Any], name: str) -> int | None:
    value = values.get(name)
    return value if isinstance(value, int) and value > 0 else None  # ldm writes -1 for "the other one counts"


def _config_prediction(parameters: Mapping[str, Any]) -> Prediction | None:
    if "parameterization" in parameters:
        return "v" if parameters["parameterization"] == "v" else "epsilon"
    scaling = str(_at(parameters, "denoiser_config", "params", "scaling_config").get("target", ""))
    if scaling:
        return "v" if scaling.endswith(("VScaling", "VScalingWithEDMcNoise")) else "epsilon"
    return None


def _metadata_prediction(metadata: Mapping[str, str]) -> Prediction | None:
    named = metadata.get("modelspec.prediction_type", "").lower()
    return {"v": "v", "v_prediction": "v", "epsilon": "epsilon", "eps": "epsilon"}.get(named)


def _metadata_resolution(metadata: Mapping[str, str]) -> int | None:
    sides = metadata.get("modelspec.resolution", "").lower().split("x")
    numbers = [int(side) for side in sides if side.strip().isdigit()]
    return max(numbers) if numbers and 64 <= max(numbers) <= 8192 else None
