"""Stage 5: one file in the original SD1 (ldm) layout, fp16, and the yaml that AUTOMATIC1111 reads beside it."""

from __future__ import annotations

import os
from pathlib import Path
from string import Template

import torch
from diffusers import AutoencoderKL
from safetensors.torch import save_file
from torch import Tensor, nn

from pivotal.toy.concepts import SIDE
from pivotal.toy.diffusion import BETAS, CHANNELS, HEADS, LAYERS_PER_BLOCK, TIMESTEPS, alphas_cumprod
from pivotal.toy.text import LAYERS, POSITIONS, VOCABULARY, WIDTH, full_table, trained_vocabulary
from pivotal.toy.vae import BASE, MULTIPLIERS, SCALE

RESNET_WORDS = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
UNET_ENDS = {
    "conv_in": "input_blocks.0.0",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
VAE_ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}


def unet_name(name: str) -> str:
    """A diffusers UNet parameter's name in ldm (inverse of diffusers' convert_ldm_unet_checkpoint)."""
    parts = name.split(".")
    leaf, stem = parts[-1], ".".join(parts[:-1])
    if stem in UNET_ENDS:
        return f"{UNET_ENDS[stem]}.{leaf}"
    if parts[0] == "mid_block":
        place = "middle_block.1" if parts[1] == "attentions" else f"middle_block.{2 * int(parts[2])}"
        rest = parts[3:]
        kind = parts[1]
    else:
        side, level, kind, index, rest = parts[0], int(parts[1]), parts[2], int(parts[3]), parts[4:]
        place = down_place(level, kind, index) if side == "down_blocks" else up_place(level, kind, index)
    if kind == "resnets":
        rest = [RESNET_WORDS[rest[0]], *rest[1:]]
    if kind == "downsamplers":
        rest = ["op", *rest[1:]]
    return ".".join([place, *rest])


def down_place(level: int, kind: str, index: int) -> str:
    """input_blocks.N.M of a part of a down block."""
    first = (LAYERS_PER_BLOCK + 1) * level + 1
    if kind == "downsamplers":
        return f"input_blocks.{first + LAYERS_PER_BLOCK}.0"
    return f"input_blocks.{first + index}.{0 if kind == 'resnets' else 1}"


def up_place(level: int, kind: str, index: int) -> str:
    """output_blocks.N.M of a part of an up block; the lowest level has no attention, so its upsampler comes second."""
    first = (LAYERS_PER_BLOCK + 1) * level
    if kind == "upsamplers":
        return f"output_blocks.{first + LAYERS_PER_BLOCK}.{1 if level == 0 else 2}"
    return f"output_blocks.{first + index}.{0 if kind == 'resnets' else 1}"


def vae_name(name: str) -> str:
    """A diffusers AutoencoderKL parameter's name in ldm (inverse of diffusers' convert_ldm_vae_checkpoint)."""
    parts = name.split(".")
    if parts[1] in ("down_blocks", "up_blocks"):
        level = int(parts[2]) if parts[1] == "down_blocks" else len(MULTIPLIERS) - 1 - int(parts[2])
        kind = parts[3]
        place = [parts[0], parts[1].removesuffix("_blocks"), str(level)]
        if kind == "resnets":
            return ".".join([*place, "block", parts[4], *parts[5:]]).replace("conv_shortcut", "nin_shortcut")
        return ".".join([*place, kind.removesuffix("rs"), *parts[5:]])  # upsamplers.0.conv to upsample.conv
    if parts[1] == "mid_block":
        rest = ".".join(parts[4:])
        if parts[2] == "resnets":
            return f"{parts[0]}.mid.block_{int(parts[3]) + 1}.{rest}"
        word, leaf = rest.rsplit(".", 1)
        return f"{parts[0]}.mid.attn_1.{VAE_ATTENTION[word]}.{leaf}"
    return name.replace("conv_norm_out", "norm_out")


def vae_tensors(vae: AutoencoderKL) -> dict[str, Tensor]:
    """first_stage_model.*; attention's linear layers are 1x1 convolutions in ldm."""
    tensors = {}
    for name, value in vae.state_dict().items():
        is_linear = ".attentions." in name and value.ndim == 2
        tensors[f"first_stage_model.{vae_name(name)}"] = (value[..., None, None] if is_linear else value).half()
    return tensors


def text_tensors(text: nn.Module) -> dict[str, Tensor]:
    """cond_stage_model.transformer.text_model.*, with the whole vocabulary's table."""
    prefix = "cond_stage_model.transformer.text_model."
    tensors = {prefix + name.removeprefix("text_model."): value.half() for name, value in text.state_dict().items()}
    table = text.get_input_embeddings().weight.detach()
    tensors[prefix + "embeddings.token_embedding.weight"] = full_table(table, trained_vocabulary())
    tensors[prefix + "embeddings.position_ids"] = torch.arange(POSITIONS)[None]
    return tensors


def schedule_tensors() -> dict[str, Tensor]:
    """The buffers that ldm's DDPM registers and real files hold, (1000,) float32 each."""
    alphas = alphas_cumprod()
    before = torch.cat([torch.ones(1), alphas[:-1]])
    betas = 1 - alphas / before
    variance = betas * (1 - before) / (1 - alphas)
    return {
        "betas": betas,
        "alphas_cumprod": alphas,
        "alphas_cumprod_prev": before,
        "sqrt_alphas_cumprod": alphas.sqrt(),
        "sqrt_one_minus_alphas_cumprod": (1 - alphas).sqrt(),
        "log_one_minus_alphas_cumprod": (1 - alphas).log(),
        "sqrt_recip_alphas_cumprod": (1 / alphas).sqrt(),
        "sqrt_recipm1_alphas_cumprod": (1 / alphas - 1).sqrt(),
        "posterior_variance": variance,
        "posterior_log_variance_clipped": variance.clamp(min=1e-20).log(),
        "posterior_mean_coef1": betas * before.sqrt() / (1 - alphas),
        "posterior_mean_coef2": (1 - before) * (1 - betas).sqrt() / (1 - alphas),
    }


# ModelSpec 1.0.1; without the resolution a host would draw and train at 512 px.
METADATA = {"format": "pt", "modelspec.sai_model_spec": "1.0.1", "modelspec.architecture": "stable-diffusion-v1",
            "modelspec.title": "Pivotal's toy", "modelspec.resolution": f"{SIDE}x{SIDE}"}


def ldm_tensors(vae: AutoencoderKL, model: nn.ModuleDict) -> dict[str, Tensor]:
    """Everything of the file, by its name there."""
    unet = {f"model.diffusion_model.{unet_name(k)}": v.half() for k, v in model["unet"].state_dict().items()}
    return {**unet, **vae_tensors(vae), **text_tensors(model["text"]), **schedule_tensors()}


def export(folder: Path, vae: AutoencoderKL, model: nn.ModuleDict) -> Path:
    """Writes `folder`/toy.safetensors and toy.yaml; each appears whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "toy.safetensors"
    partial = path.with_suffix(".partial")
    tensors = {name: value.detach().contiguous() for name, value in ldm_tensors(vae, model).items()}
    save_file(tensors, partial, metadata=METADATA)
    partial.chmod(0o644)  # safetensors writes 0600, and git keeps only the executable bit
    os.replace(partial, path)
    path.with_suffix(".yaml").write_text(yaml_text(), encoding="utf-8")
    return path


def yaml_text() -> str:
    """v1-inference.yaml with this model's sizes."""
    template = (Path(__file__).parent / "toy.yaml.template").read_text(encoding="utf-8")
    return Template(template).substitute(
        beta_start=BETAS[0],
        beta_end=BETAS[1],
        timesteps=TIMESTEPS,
        scale=SCALE,
        model_channels=CHANNELS[0],
        channel_mult=[channels // CHANNELS[0] for channels in CHANNELS],
        unet_layers=LAYERS_PER_BLOCK,
        heads=HEADS,
        vae_channels=BASE,
        vae_mult=list(MULTIPLIERS),
        vocabulary=VOCABULARY,
        positions=POSITIONS,
        width=WIDTH,
        text_layers=LAYERS,
        text_heads=max(1, WIDTH // 64),
        intermediate=4 * WIDTH,
    )
