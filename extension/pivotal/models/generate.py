"""Images from a model, through diffusers' pipelines; the same numbers in give the same image out."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline
from PIL import Image
from torch import Generator, Tensor

from pivotal.models.diffusion import Conditioning, DiffusionModel, Vectors
from pivotal.models.samplers import make_scheduler
from pivotal.prompts.chunks import tokenize_prompt


@dataclass(frozen=True)
class GenerateSettings:
    """How an image is drawn."""

    width: int = 512  # px, a multiple of 8
    height: int = 512  # px, a multiple of 8
    steps: int = 20
    sampler: str = "Euler"
    cfg_scale: float = 7.0  # 1: no guidance (arXiv:2207.12598)
    seed: int = 1  # of the first image; each further one has the next number
    batch: int = 1


def conditioning_for(model: DiffusionModel, text: str, vectors: Vectors | None = None, emphasis: bool = True,
                     clip_skip: int | None = None) -> Conditioning:
    """What the UNet is told of `text`, whose placeholders stand for `vectors` and whose (words:1.2) are emphasised.

    Args:
        clip_skip: None takes the model's own.
    """
    counts = {name: len(tensors[0]) for name, tensors in (vectors or {}).items()}
    prompt = tokenize_prompt(text, model.tokenizer, counts, emphasis=emphasis, comma_backtrack=model.comma_backtrack)
    with torch.no_grad():
        return model.encode_prompts([prompt], vectors, clip_skip)


def negative_for(model: DiffusionModel, text: str, vectors: Vectors | None = None,
                 clip_skip: int | None = None) -> Conditioning:
    """As `conditioning_for`, of a negative prompt: an empty one is all zeros for SDXL, as sgm and the WebUIs have it."""
    told = conditioning_for(model, text, vectors, clip_skip=clip_skip)
    if text or not model.family.size_ids:
        return told
    return Conditioning(torch.zeros_like(told.hidden), torch.zeros_like(told.pooled))


@torch.no_grad()
def generate(model: DiffusionModel, prompt: Conditioning, negative: Conditioning, settings: GenerateSettings,
             on_step: Callable[[int, int], None] | None = None,
             should_stop: Callable[[], bool] | None = None) -> list[Image.Image]:
    """Draws `settings.batch` images; with `should_stop` true at a step, nothing.

    Args:
        on_step: called with the number of steps done, and of all.
    """
    pipeline = _pipeline(model, settings)
    stopped = False

    def after_step(pipe: Any, index: int, _timestep: Any, values: dict[str, Any]) -> dict[str, Any]:
        nonlocal stopped
        if on_step is not None and not stopped:
            on_step(index + 1, settings.steps)
        if should_stop is not None and should_stop():
            stopped = pipe._interrupt = True  # as diffusers' guide to interrupting says
        return values

    generators = [Generator().manual_seed((settings.seed + index) % 2**64) for index in range(settings.batch)]
    with _everything_masked(model, settings):
        latents = pipeline(
            height=settings.height, width=settings.width, num_inference_steps=settings.steps,
            guidance_scale=float(settings.cfg_scale), generator=generators,
            latents=_first_noise(model, settings, generators), output_type="latent", return_dict=False,
            callback_on_step_end=after_step, **_embeds(model, prompt, negative, settings.batch),
        )[0]
    return [] if stopped else decode(model, latents)


class _WhereTheUnetIs:
    """Else diffusers takes the device of whichever module it finds first, and some hosts keep the VAE on the CPU."""

    unet: Any

    @property
    def _execution_device(self) -> torch.device:
        return self.unet.device


class _OfSd(_WhereTheUnetIs, StableDiffusionPipeline):
    """SD 1 and SD 2."""


class _OfXl(_WhereTheUnetIs, StableDiffusionXLPipeline):
    """SDXL."""


def _pipeline(model: DiffusionModel, settings: GenerateSettings) -> Any:
    """A pipeline over the model's own modules; it owns nothing and is made anew for each call.

    Without text encoders: it would cast the conditioning to their dtype, which may not be the UNet's.
    """
    parts = {"vae": model.vae, "unet": model.unet, "text_encoder": None, "tokenizer": None,
             "scheduler": make_scheduler(settings.sampler, model.alphas_cumprod, model.prediction)}
    if model.family.size_ids:
        pipeline = _OfXl(**parts, text_encoder_2=None, tokenizer_2=None, add_watermarker=False)
    else:
        pipeline = _OfSd(**parts, safety_checker=None, feature_extractor=None, requires_safety_checker=False)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@contextmanager
def _everything_masked(model: DiffusionModel, settings: GenerateSettings) -> Iterator[None]:
    """While it lasts, an inpainting UNet is told that everything is to be painted; any other model is left alone.

    So AUTOMATIC1111 draws text to image with such a checkpoint (processing.py, txt2img_image_conditioning).
    """
    if not model.is_inpainting:
        yield
        return
    told = model.encode_masked(torch.zeros(1, 3, settings.height, settings.width),
                               torch.ones(1, 1, settings.height, settings.width))

    def join(_module: Any, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        noisy = inputs[0]
        return (torch.cat([noisy, told.to(noisy).expand(len(noisy), -1, -1, -1)], dim=1), *inputs[1:])

    handle = model.unet.register_forward_pre_hook(join)
    try:
        yield
    finally:
        handle.remove()


def _first_noise(model: DiffusionModel, settings: GenerateSettings, generators: list[Generator]) -> Tensor:
    """(B, 4, H/8, W/8), drawn on the CPU, so that an image does not depend on the device."""
    shape = (model.unet.config.out_channels, settings.height // 8, settings.width // 8)
    return torch.stack([torch.randn(shape, generator=generator) for generator in generators]).to(
        model.device, model.dtype)


def _embeds(model: DiffusionModel, prompt: Conditioning, negative: Conditioning, batch: int) -> dict[str, Tensor]:
    """The pipeline's arguments. Prompts of different length are repeated to a common one: attention over a context
    and its copies is attention over the context, so each acts as if it were alone."""
    common = math.lcm(prompt.hidden.shape[1], negative.hidden.shape[1])
    embeds = {"prompt_embeds": prompt.hidden.repeat(batch, common // prompt.hidden.shape[1], 1),
              "negative_prompt_embeds": negative.hidden.repeat(batch, common // negative.hidden.shape[1], 1)}
    if model.family.size_ids:
        embeds["pooled_prompt_embeds"] = prompt.pooled.repeat(batch, 1)
        embeds["negative_pooled_prompt_embeds"] = negative.pooled.repeat(batch, 1)
    return {name: tensor.to(model.device, model.dtype) for name, tensor in embeds.items()}


def decode(model: DiffusionModel, latents: Tensor) -> list[Image.Image]:
    """Images of (B, 4, h, w) latents."""
    levels = (decoded(model, latents) / 2 + 0.5).clamp(0, 1).nan_to_num() * 255
    return [Image.fromarray(image.round().byte().permute(1, 2, 0).cpu().numpy()) for image in levels]


def decoded(model: DiffusionModel, latents: Tensor) -> Tensor:
    """(B, 3, H, W) fp32, in -1..1 but for what overshoots, of (B, 4, h, w) latents."""
    weight = next(model.vae.parameters())
    scaled = latents.float().to(weight.device) / model.family.latent_scale
    pixels = model.vae.decode(scaled.to(weight.dtype), return_dict=False)[0]
    if weight.dtype == torch.float16 and not pixels.isfinite().all():  # SDXL's first VAE overflows in fp16
        pixels = copy.deepcopy(model.vae).float().decode(scaled, return_dict=False)[0]
    return pixels.float()
