"""What a run writes while it goes on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pivotal.config.options import option

_NO_NETWORK = (("network.method", ("none",), "No network is trained."),)
Sampler = Literal["DDIM", "Euler", "Euler a", "DPM++ 2M"]


@dataclass(frozen=True)
class Save:
    """Files on the way."""

    every_steps: int = option(0, "Writes a copy of what is trained every N steps; 0 only at the end.", ge=0,
                             unit="steps", label="Save every")
    every_epochs: float | None = option(None, "Writes a copy every N epochs, too. Empty: no.", above=0, le=1_000_000,
                                        unit="epochs")
    every_minutes: float | None = option(None, "Writes a copy every N minutes of training, too. Empty: no.", above=0,
                                         le=1_000_000, unit="minutes")
    keep_copies: int | None = option(
        None, "Keeps only this many of the newest copies of this run. Empty keeps all.", ge=1, le=1_000_000)
    state_every_steps: int = option(
        100, "Writes what resuming needs every N steps, so that a crash loses little; 0 only at a stop.", ge=0,
        unit="steps", label="Save the state every")
    state_every_minutes: float | None = option(
        None, "Writes it every N minutes of training, too. Empty: no.", above=0, le=1_000_000, unit="minutes")
    ema: Literal["averaged", "last", "both"] = option(
        "averaged", "With an EMA: writes the average, the last step's values, or both (as NAME-raw).", label="EMA files")
    precision: Literal["fp16", "bf16", "fp32"] = option(
        "fp16", "Number format of a network's file; embeddings are always written as fp32.", void_when=_NO_NETWORK)
    bundle: bool = option(
        True, "Puts the embeddings into the network's file, so that its tag brings the words. Off: a folder beside it.",
        label="Bundle embeddings", void_when=_NO_NETWORK)
    cards: bool = option(True, "Writes what the host's LoRA cards show: the words, the weight and a picture.")
    best: bool = option(
        False, "Also writes the best measured step, as NAME-best, whenever there is a better one; needs Measure every.")
    existing: Literal["keep_copy", "replace", "refuse"] = option(
        "keep_copy", "Says what happens to an older file of the same name: it is kept in the run's folder, or not.",
        label="If the file exists")


@dataclass(frozen=True)
class Samples:
    """Preview images."""

    every_steps: int = option(100, "Draws the sample prompts every N steps; 0 never.", ge=0, unit="steps",
                             label="Sample every", first_page=True)
    every_epochs: float | None = option(None, "Draws them every N epochs, too. Empty: no.", above=0, le=1_000_000,
                                        unit="epochs")
    prompts: tuple[str, ...] = option(
        (), "Prompts to draw, one per line; --n --w --h --d --l --s --ss set negative, size, seed, scale, steps, sampler; # "
        "skips a line. Empty takes the first captions.",
        label="Sample prompts", widget="sample lines", tokens="prompt", first_page=True)
    negative: str = option("", "What the samples should not show.", tokens="prompt", label="Negative prompt")
    steps: int = option(20, "Number of sampling steps.", ge=1, le=150, label="Sampling steps")
    sampler: Sampler = option("Euler", "Sampler of the previews.", void_when=(
        ("samples.host_sampler", (), "The WebUI's own sampler draws."),))
    through: Literal["ours", "the host"] = option(
        "ours", "Whose samplers and noise draw: ours, or the WebUI's own, which show what the prompt will (AUTOMATIC1111 only).",
        label="Draw through")
    host_sampler: str = option(
        "", "One of the WebUI's own samplers, with its schedule if you like: DPM++ 2M SDE Karras. Empty takes the sampler above.",
        shown_when=("samples.through", ("the host",)), label="The host's sampler")
    cfg_scale: float = option(5.0, "How strongly the prompt guides; 1 is not at all.", ge=1, le=30, step=0.5,
                              label="CFG scale", source="arXiv:2207.12598")
    count: int = option(1, "Number of images of each prompt; each further one has the next seed.", ge=1, le=16,
                        label="Images per prompt")
    weights: Literal["averaged", "last", "both"] = option(
        "averaged", "With an EMA: draws with the average, with the last step's values, or with both.", label="EMA samples")
    seed: int = option(1, "Makes previews comparable: each is drawn from this seed every time.", ge=0, le=2**32 - 1)
    size: int | None = option(None, "Side of a preview. Empty takes the training resolution.", ge=64, le=4096, unit="px")


@dataclass(frozen=True)
class Sharing:
    """How a run and the host's prompts get along."""

    let_prompts_through: bool = option(
        False, "Lets prompts that wait be drawn between two steps. Off: they wait for the run's end.")
