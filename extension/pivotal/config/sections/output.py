"""What a run writes while it goes on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pivotal.config.options import option


@dataclass(frozen=True)
class Save:
    """Files on the way."""

    every_steps: int = option(0, "Writes a copy of what is trained every so many steps; 0 only at the end.", ge=0,
                             unit="steps", label="Save every")
    keep_copies: int | None = option(
        None, "Keeps only so many of the newest copies of this run. Empty keeps all.", ge=1, le=1_000_000)
    state_every_steps: int = option(
        100, "Writes what resuming needs every so many steps, so that a crash loses little; 0 only at a stop.", ge=0,
        unit="steps", label="Save the state every")
    precision: Literal["fp16", "bf16", "fp32"] = option(
        "fp16", "Number format of a network's file; embeddings are always written as fp32.")
    bundle: bool = option(
        True, "Puts the embeddings into the network's file, so that its tag brings the words. Off: a folder beside it.",
        label="Bundle embeddings")
    cards: bool = option(True, "Writes what the host's LoRA cards show: the words, the weight and a picture.")
    existing: Literal["keep_copy", "replace", "refuse"] = option(
        "keep_copy", "Says what happens to an older file of the same name: it is kept in the run's folder, or not.",
        label="If the file exists")


@dataclass(frozen=True)
class Samples:
    """Preview images."""

    every_steps: int = option(100, "Draws the sample prompts every so many steps; 0 never.", ge=0, unit="steps",
                             label="Sample every", first_page=True)
    prompts: tuple[str, ...] = option(
        (), "Prompts to draw, one a line. Empty takes the first captions of the dataset.",
        label="Sample prompts", widget="textarea", tokens="prompt", first_page=True)
    negative: str = option("", "Says what the samples shall not show.", tokens="prompt", label="Negative prompt")
    steps: int = option(20, "Number of sampling steps.", ge=1, le=150, label="Sampling steps")
    sampler: Literal["DDIM", "Euler", "Euler a", "DPM++ 2M"] = option("Euler", "Sampler of the previews.")
    cfg_scale: float = option(5.0, "How strongly the prompt guides; 1 is not at all.", ge=1, le=30, step=0.5,
                              label="CFG scale", source="arXiv:2207.12598")
    seed: int = option(1, "Makes previews comparable: each is drawn from this seed every time.", ge=0, le=2**32 - 1)
    size: int | None = option(None, "Side of a preview. Empty takes the training resolution.", ge=64, le=4096, unit="px")


@dataclass(frozen=True)
class Sharing:
    """How a run and the host's prompts get along."""

    let_prompts_through: bool = option(
        False, "Lets prompts that wait be drawn between two steps. Off: they wait for the run's end.")


@dataclass(frozen=True)
class Measure:
    """The denoising error before and after, at noise and timesteps that stay the same."""

    images: int = option(4, "Number of images measured before and after the run, at five timesteps each; 0 is off.",
                         ge=0, le=1000, label="Measured images")
    folder: str = option("", "Folder of held-out images with captions to measure on. Empty measures the dataset itself.",
                         widget="folder")
