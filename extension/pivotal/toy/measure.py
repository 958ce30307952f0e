"""Reads the shipped file back with diffusers' own converters, and scores what it draws."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline
from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint, convert_ldm_vae_checkpoint
from safetensors.torch import load_file
from transformers import CLIPTextModel

from pivotal.toy.captions import random_background
from pivotal.toy.concepts import SIDE, TRAINED_COLOURS, TRAINED_SHAPES, Paint
from pivotal.toy.diffusion import BETAS, build_unet
from pivotal.toy.judge import judge
from pivotal.toy.text import VOCABULARY, text_config, tokenizer
from pivotal.toy.vae import build_vae

TEXT_PREFIX = "cond_stage_model.transformer.text_model."


@dataclass(frozen=True)
class Asked:
    """What a prompt asks for."""

    colour: str
    shape: str
    background: str

    @property
    def prompt(self) -> str:
        """Its words."""
        return f"a {self.colour} {self.shape} on a {self.background} background"


@dataclass(frozen=True)
class Score:
    """Shares of images (0..1) whose colour, shape, background, and all three, are as asked."""

    colour: float
    shape: float
    background: float
    whole: float


def load_pipeline(path: Path) -> StableDiffusionPipeline:
    """A plain fp32 pipeline from an ldm file; every key must match."""
    state = {name: value.float() for name, value in load_file(path).items() if value.is_floating_point()}
    unet, vae, text = build_unet(), build_vae(), CLIPTextModel(text_config(VOCABULARY))
    unet.load_state_dict(convert_ldm_unet_checkpoint(dict(state), config=dict(unet.config)), strict=True)
    vae.load_state_dict(convert_ldm_vae_checkpoint(dict(state), config=dict(vae.config)), strict=True)
    held = text.state_dict()
    names = {name.removeprefix("text_model."): name for name in held}  # transformers 4 has the prefix
    words = {key.removeprefix(TEXT_PREFIX): value for key, value in state.items() if key.startswith(TEXT_PREFIX)}
    counts = {name: value for name, value in held.items() if name.endswith("position_ids")}  # before transformers 4.31
    text.load_state_dict({names[key]: value for key, value in words.items()} | counts, strict=True)
    scheduler = DDIMScheduler(
        beta_start=BETAS[0],
        beta_end=BETAS[1],
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )
    pipeline = StableDiffusionPipeline(
        vae=vae.eval(),
        text_encoder=text.eval(),
        tokenizer=tokenizer(),
        unet=unet.eval(),
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def questions(count: int, seed: int) -> list[Asked]:
    """Colours and shapes in turn (60 pairs), backgrounds at random among those that stand out."""
    rng = np.random.default_rng(seed)
    asked = []
    for index in range(count):
        colour = list(TRAINED_COLOURS)[index % len(TRAINED_COLOURS)]
        shape = TRAINED_SHAPES[(index // len(TRAINED_COLOURS)) % len(TRAINED_SHAPES)]
        background = random_background(Paint(colour, TRAINED_COLOURS[colour]), rng).name
        asked.append(Asked(colour, shape, background))
    return asked


def draw(pipeline: StableDiffusionPipeline, prompts: list[str], guidance: float, steps: int, seed: int) -> np.ndarray:
    """(len(prompts), side, side, 3) uint8, in batches of 50."""
    parts = []
    for start in range(0, len(prompts), 50):
        images = pipeline(
            prompts[start : start + 50],
            height=SIDE,
            width=SIDE,
            num_inference_steps=steps,
            guidance_scale=guidance,
            generator=torch.Generator().manual_seed(seed + start),
            output_type="np",
        ).images
        parts.append(np.rint(images * 255).astype(np.uint8))
    return np.concatenate(parts)


def score(asked: list[Asked], images: np.ndarray) -> Score:
    """Judges every image against what was asked."""
    hits = []
    for question, pixels in zip(asked, images, strict=True):
        seen = judge(pixels)
        hit = (seen.colour == question.colour, seen.shape == question.shape, seen.background == question.background)
        hits.append((*hit, all(hit)))
    return Score(*(float(value) for value in np.mean(hits, axis=0)))
