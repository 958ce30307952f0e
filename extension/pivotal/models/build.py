"""From tensors in the original ldm/sgm layout to a model over the same memory: nothing is copied or converted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint, convert_ldm_vae_checkpoint
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTextModelWithProjection

from pivotal.errors import FormatError
from pivotal.models.diffusion import DiffusionModel, TextEncoder
from pivotal.models.families import SD2, Encoder, Family, Prediction
from pivotal.models.ldm_layout import ENCODERS, UNET, VAE, Facts, detect_family, known_facts
from pivotal.models.ldm_layout_text import clip_tensors, open_clip_tensors, text_config
from pivotal.models.ldm_layout_unet import unet_config, vae_config
from pivotal.models.schedule import ddpm_schedule, to_zero_terminal_snr

SHOWN = 3  # names in an error


def build_model(tensors: Mapping[str, Tensor], *, tokenizer: Any, prediction: Prediction | None = None,
                alphas_cumprod: Tensor | None = None, resolution: int | None = None,
                facts: Facts | None = None) -> DiffusionModel:
    """A frozen model whose parameters share `tensors`' memory.

    Args:
        tensors: of a whole checkpoint; those of no part of the model (EMA, optimizer, schedule) are left alone.
        tokenizer: text -> ids of CLIP's vocabulary.
        prediction: what the UNet predicts; None asks `facts`, then the tensors.
        alphas_cumprod: (1000,) the host's schedule; None is the one that all three families were trained with, rescaled
            where `facts` say so.
        resolution: px; None asks `facts`, then the family.
        facts: what is known beyond the tensors (`known_facts`); None: nothing.

    Raises:
        FormatError: when a tensor is missing, is one too many, or has the wrong shape.
    """
    family = detect_family(tensors)
    facts = facts or known_facts(family, tensors)
    resolution = resolution or facts.resolution or family.resolution
    text_encoders = _build_text_encoders(tensors, family)
    projection = getattr(text_encoders[-1].module.config, "projection_dim", None) if family.size_ids else None
    unet = part_of(tensors, UNET)
    config = unet_config(unet, family, facts, resolution, projection)
    return DiffusionModel(
        family=family,
        unet=_build_unet(unet, config),
        vae=_build_vae(part_of(tensors, VAE), family, resolution),
        text_encoders=text_encoders,
        tokenizer=tokenizer,
        alphas_cumprod=_schedule(facts) if alphas_cumprod is None else alphas_cumprod.detach().float().cpu(),
        prediction=prediction or facts.prediction or ("v" if family is SD2 else "epsilon"),
        resolution=resolution,
    )


def _schedule(facts: Facts) -> Tensor:
    return to_zero_terminal_snr(ddpm_schedule()) if facts.zero_terminal_snr else ddpm_schedule()


def part_of(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors under `prefix`, without it, and detached: a module built of live Parameters would own the host's."""
    return {name.removeprefix(prefix): tensors[name].detach() for name in tensors if name.startswith(prefix)}


def _build_unet(unet: Mapping[str, Tensor], config: Mapping[str, Any]) -> nn.Module:
    with torch.device("meta"):
        module = UNet2DConditionModel(**config)
    named = {UNET + name: tensor for name, tensor in unet.items()}
    converted = _converted(convert_ldm_unet_checkpoint, named, module.config, "UNet")
    return fill(module, converted, "UNet")


def _build_vae(vae: Mapping[str, Tensor], family: Family, resolution: int) -> nn.Module:
    with torch.device("meta"):
        module = AutoencoderKL(**vae_config(vae, family, resolution))
    named = {VAE + name: tensor for name, tensor in vae.items() if not name.startswith(("loss.", "model_ema."))}
    return fill(module, _converted(convert_ldm_vae_checkpoint, named, module.config, "VAE"), "VAE")


def _converted(convert: Any, tensors: dict[str, Tensor], config: Mapping[str, Any], part: str) -> dict[str, Tensor]:
    """diffusers' names; its converters drop what they do not know, which must not pass unseen."""
    try:
        converted = convert(dict(tensors), config)
    except (KeyError, AttributeError) as error:  # what they raise on a file with a hole
        raise FormatError(f"its {part} is incomplete: {error}") from error
    taken = {tensor.data_ptr() for tensor in converted.values() if tensor is not None}
    _refuse(part, "unknown", (name for name, tensor in tensors.items() if tensor.data_ptr() not in taken))
    return converted


def _build_text_encoders(tensors: Mapping[str, Tensor], family: Family) -> tuple[TextEncoder, ...]:
    return tuple(_build_text_encoder(part_of(tensors, prefix), prefix, rules, family)
                 for prefix, rules in zip(ENCODERS[family.name], family.encoders, strict=True))


def _build_text_encoder(encoder: Mapping[str, Tensor], prefix: str, rules: Encoder, family: Family) -> TextEncoder:
    is_open_clip = prefix.endswith(".model.")
    pools = is_open_clip and family.size_ids  # SD 2 uses no pooled text, though its files have the projection
    named = open_clip_tensors(encoder, pools) if is_open_clip else clip_tensors(encoder)
    config = text_config(named, "gelu" if is_open_clip else "quick_gelu")
    with torch.device("meta"):
        module = (CLIPTextModelWithProjection if pools else CLIPTextModel)(config)
    inner = getattr(module, "text_model", module)
    # Never in the file; on the meta device it has no values, and some transformers versions want it in the state.
    positions = torch.arange(config.max_position_embeddings, device=next(iter(named.values())).device)[None]
    inner.embeddings.register_buffer("position_ids", positions, persistent=False)
    if inner is module:  # transformers >= 5.6
        named = {name.removeprefix("text_model."): tensor for name, tensor in named.items()}
    return TextEncoder(fill(module, named, f"text encoder ({rules.name})"), rules)


def fill(module: nn.Module, tensors: Mapping[str, Tensor | None], part: str) -> nn.Module:
    """`module`, made on the meta device, over `tensors`; frozen, in evaluation mode.

    Raises:
        FormatError: names the first tensors that are missing, unknown or of another shape.
    """
    expected = module.state_dict()
    present = {name: tensor for name, tensor in tensors.items() if tensor is not None}
    _refuse(part, "missing", sorted(set(expected) - set(present)))
    _refuse(part, "unknown", sorted(set(present) - set(expected)))
    _refuse(part, "of another shape", [f"{name} {tuple(present[name].shape)}, expected {tuple(want.shape)}"
                                       for name, want in expected.items() if want.shape != present[name].shape])
    module.load_state_dict(present, assign=True)
    return module.requires_grad_(False).eval()


def _refuse(part: str, kind: str, names: Iterable[str]) -> None:
    found: Sequence[str] = list(names)
    if found:
        more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
        raise FormatError(f"its {part} has tensors that are {kind}: {', '.join(found[:SHOWN])}{more}")
