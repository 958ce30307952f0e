"""How long, in what portions and how fast to learn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pivotal.config.options import option


@dataclass(frozen=True)
class Length:
    """How long a run lasts."""

    steps: int = option(500, "Number of optimizer updates.", ge=1, le=10_000_000, ss="ss_max_train_steps",
                        first_page=True)


@dataclass(frozen=True)
class Batch:
    """How many images an update sees."""

    size: int = option(4, "Number of images the device works on at once.", ge=1, le=512, label="Batch size",
                       ss="ss_total_batch_size", first_page=True)
    accumulation: int = option(
        1, "Number of batches whose gradients are added up for one update.", ge=1, le=1024,
        label="Gradient accumulation", ss="ss_gradient_accumulation_steps")


@dataclass(frozen=True)
class Optimizer:
    """What turns gradients into updates."""

    kind: Literal["adamw", "prodigy", "dadapt adam"] = option(
        "adamw", "Names the method of the updates. Prodigy and D-Adaptation find the rate themselves: give them rates of 1.",
        source="arXiv:1711.05101, arXiv:2306.06101, arXiv:2301.07733", ss="ss_optimizer")
    learning_rate: float = option(
        5e-3, "Size of an update. For embeddings 0.001 to 0.02 is usual; 0 changes nothing (a control run).",
        ge=0, le=10, ss="ss_learning_rate", first_page=True)
    beta_1: float = option(0.9, "Memory of the mean gradient.", ge=0, le=0.9999)
    beta_2: float = option(0.999, "Memory of the mean squared gradient.", ge=0, le=0.999999)
    epsilon: float = option(1e-8, "Added to the denominator of an update, so that it is never zero.", above=0, le=1)
    weight_decay: float = option(
        0.01, "Pulls the network's weights to zero by this fraction of the learning rate at each step.", ge=0, le=1)
    decay_embeddings: bool = option(False, "Lets weight decay pull at embeddings, too; usually it should not.")
    ema_decay: float | None = option(
        None, "Keeps an average over the steps in place of the last values; 0.998 for small datasets. Empty: off.", ge=0,
        le=0.99999, label="EMA decay")
    clip_norm: float | None = option(
        None, "Shortens each part's gradient to this length at most; 1 is usual. Empty: never.", above=0, le=1000,
        label="Clip gradients at", ss="ss_max_grad_norm")
    growth_limit: float | None = option(
        None, "Most by which Prodigy and D-Adaptation may raise their rate in a step; 2 is careful. Empty: no limit.",
        above=1, le=1000, shown_when=("optimizer.kind", ("prodigy", "dadapt adam")))
    first_estimate: float = option(1e-6, "Rate with which Prodigy and D-Adaptation begin.", above=0, le=1,
                                   shown_when=("optimizer.kind", ("prodigy", "dadapt adam")))


@dataclass(frozen=True)
class Precision:
    """Number formats and memory."""

    compute: Literal["auto", "fp32", "bf16", "fp16"] = option(
        "auto", "Number format of the model's work; what is trained stays fp32. Auto suits it to the device.",
        ss="ss_mixed_precision")
    gradient_checkpointing: bool = option(
        False, "Computes parts of the model twice instead of keeping them: a third slower, much less memory.",
        ss="ss_gradient_checkpointing")


@dataclass(frozen=True)
class Objective:
    """What is predicted, and from which part of the text encoder."""

    prediction: Literal["auto", "epsilon", "v"] = option(
        "auto", "What the model predicts: the noise, or the velocity. Auto asks the checkpoint.",
        source="arXiv:2202.00512")
    zero_terminal_snr: Literal["auto", "on", "off"] = option(
        "auto", "Lets the last timestep be pure noise, so that very dark and bright images can be learned; needs v.",
        label="Zero terminal SNR", ss="ss_zero_terminal_snr", source="arXiv:2305.08891")
    clip_skip: int | None = option(
        None, "Takes the text encoder's output so many layers from its end. Empty: as the host does in prompts.",
        ge=1, le=12, ss="ss_clip_skip")
