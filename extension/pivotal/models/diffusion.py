"""A diffusion model as the trainer and the samplers use it, whoever owns its tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from pivotal.models.devices import sent
from pivotal.models.emphasis import with_emphasis
from pivotal.models.families import Encoder, Family, Prediction
from pivotal.models.text import encode_chunks
from pivotal.prompts.chunks import COMMA_BACKTRACK, Chunk, TokenizedPrompt

Vectors = Mapping[str, Sequence[Tensor]]
"""Placeholder -> one (vectors, width) tensor per text encoder of the family."""


@dataclass(frozen=True)
class Conditioning:
    """What the UNet is told of the prompts."""

    hidden: Tensor  # (B, 77 x chunks, width of all encoders together)
    pooled: Tensor | None = None  # (B, width of the last encoder's projection); SDXL only


@dataclass(frozen=True)
class SizeIds:
    """SDXL's conditioning on an image's history, in pixels (arXiv:2307.01952, section 2.2)."""

    original: tuple[int, int]  # height, width before scaling
    crop: tuple[int, int]  # top, left of the crop, after scaling
    target: tuple[int, int]  # height, width of what is trained on or asked for

    def row(self) -> tuple[int, ...]:
        return (*self.original, *self.crop, *self.target)


@dataclass(frozen=True)
class TextEncoder:
    """A text encoder with the rules its family has for it."""

    module: nn.Module  # transformers CLIPTextModel or CLIPTextModelWithProjection
    rules: Encoder

    @property
    def table(self) -> nn.Embedding:
        """The token table: (vocabulary, width)."""
        inner = getattr(self.module, "text_model", self.module)  # transformers >= 5.6 flattened CLIPTextModel
        return inner.embeddings.token_embedding


@dataclass(frozen=True)
class DiffusionModel:
    """A UNet, a VAE and text encoders; every parameter frozen, and possibly shared with a host."""

    family: Family
    unet: nn.Module  # diffusers UNet2DConditionModel
    vae: nn.Module  # diffusers AutoencoderKL
    text_encoders: tuple[TextEncoder, ...]
    tokenizer: Any  # text -> ids; one for all encoders, for they share CLIP's vocabulary
    alphas_cumprod: Tensor  # (1000,) fp32, cumulative product of 1 - beta (Ho et al. 2020)
    prediction: Prediction
    resolution: int  # px, side of the square it was trained at
    clip_skip: int = 1  # the host's own: 1 is the family's usual layer, 2 the one before
    comma_backtrack: int = COMMA_BACKTRACK  # the host's own: see prompts/layout.py

    @property
    def device(self) -> torch.device:
        return next(self.unet.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        return next(self.unet.parameters()).dtype

    @property
    def text_dtype(self) -> torch.dtype:
        """Of the first text encoder; some hosts keep it in another format than the UNet."""
        return next(self.text_encoders[0].module.parameters()).dtype

    @property
    def is_inpainting(self) -> bool:
        """Whether the UNet wants to be told a mask and what is not masked (Rombach et al. 2022, 4.5)."""
        return self.unet.config.in_channels == 9

    @property
    def widths(self) -> tuple[int, ...]:
        """Width of a vector in each text encoder: (768,) for SD 1, (768, 1280) for SDXL."""
        return tuple(encoder.table.weight.shape[1] for encoder in self.text_encoders)

    def encode_images(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of the VAE's posterior, scaled as latents are.

        Args:
            pixels: (B, 3, H, W) in -1..1.

        Returns: two (B, 4, H/8, W/8) fp32; mean + deviation x standard normal noise are latents of unit variance.
        """
        weight = next(self.vae.parameters())
        with torch.no_grad():
            posterior = self.vae.encode(pixels.to(weight.device, weight.dtype)).latent_dist
        scale = self.family.latent_scale
        return posterior.mean.float() * scale, posterior.std.float() * scale

    def encode_masked(self, pixels: Tensor, masks: Tensor) -> Tensor:
        """What an inpainting UNet is told besides the noisy latents.

        The mask's nearest pixel for each latent, then the latents (the posterior's mean) of the image with the masked
        pixels grey, as ldm's training and AUTOMATIC1111 have it (processing.py, inpainting_image_conditioning).

        Args:
            pixels: (B, 3, H, W) in -1..1.
            masks: (B, 1, H, W), 1 where something is to be painted, else 0.

        Returns: (B, 5, H/8, W/8) fp32.
        """
        kept, _ = self.encode_images(pixels * (1 - masks))
        return torch.cat([functional.interpolate(masks, size=kept.shape[-2:]).to(kept), kept], dim=1)

    def encode_prompts(self, prompts: Sequence[TokenizedPrompt], vectors: Vectors | None = None,
                       clip_skip: int | None = None) -> Conditioning:
        """The text encoders' output for `prompts`, differentiable in `vectors`.

        Prompts shorter than the longest of the batch get empty chunks. Weights of tokens are applied as hosts do.

        Args:
            clip_skip: None takes the model's own.
        """
        clip_skip = self.clip_skip if clip_skip is None else clip_skip
        chunks = max(len(prompt.chunks) for prompt in prompts)
        rows = [chunk for prompt in prompts for chunk in _padded(prompt.chunks, chunks)]
        hidden, pooled = [], None
        for index, encoder in enumerate(self.text_encoders):
            values = {name: tensors[index] for name, tensors in (vectors or {}).items()}
            states, pooled_rows = encode_chunks(encoder.module, encoder.table, encoder.rules, rows, values, clip_skip)
            states = with_emphasis(states, rows)
            hidden.append(states.reshape(len(prompts), chunks * states.shape[1], states.shape[2]))
            if pooled_rows is not None:
                pooled = pooled_rows[::chunks]  # the first chunk's, as every host has it
        return Conditioning(torch.cat(hidden, dim=-1), pooled if self.family.size_ids else None)

    def predict(self, noisy: Tensor, timesteps: Tensor, conditioning: Conditioning,
                size_ids: Tensor | None = None, inpainting: Tensor | None = None) -> Tensor:
        """The UNet's output.

        Args:
            noisy: (B, 4, h, w) in the UNet's dtype or under autocast.
            timesteps: (B,) ints 0..999.
            size_ids: (B, 6) px; SDXL only (see `SizeIds`).
            inpainting: (B, 5, h, w) of `encode_masked`; inpainting models only.

        Returns: (B, 4, h, w), noise or velocity after `prediction`.
        """
        added = None
        if self.family.size_ids:
            added = {"text_embeds": conditioning.pooled.to(noisy.dtype), "time_ids": size_ids}
        if self.is_inpainting:
            noisy = torch.cat([noisy, sent(inpainting, noisy.device).to(noisy.dtype)], dim=1)
        # Some hosts keep text encoders and UNet in different formats.
        return self.unet(noisy, timesteps, encoder_hidden_states=conditioning.hidden.to(noisy.dtype),
                         added_cond_kwargs=added, return_dict=False)[0]


def _padded(chunks: Sequence[Chunk], count: int) -> list[Chunk]:
    return [*chunks, *(Chunk((), (), ()) for _ in range(count - len(chunks)))]
