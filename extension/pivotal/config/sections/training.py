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

    kind: Literal["adamw"] = option(
        "adamw", "Names the method of the updates.", source="arXiv:1711.05101", ss="ss_optimizer")
    learning_rate: float = option(
        5e-3, "Size of an update. For embeddings 0.001 to 0.02 is usual; 0 changes nothing (a control run).",
        ge=0, le=10, ss="ss_learning_rate", first_page=True)
    beta_1: float = option(0.9, "Memory of the mean gradient.", ge=0, le=0.9999)
    beta_2: float = option(0.999, "Memory of the mean squared gradient.", ge=0, le=0.999999)
    epsilon: float = option(1e-8, "Added to the denominator of an update, so that it is never zero.", above=0, le=1)
    weight_decay: float = option(
        0.0, "Pulls the weights to zero by this fraction of the learning rate at each step; 0 is right for embeddings.",
        ge=0, le=1)


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
    clip_skip: int = option(
        1, "Takes the text encoder's output so many layers from its end; as in your prompts. SDXL ignores it.",
        ge=1, le=12, ss="ss_clip_skip")
