"""How long, in what portions and how fast to learn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pivotal.config.optimizers import FINDS_ITS_RATE, Kind, kinds_with, usual_text
from pivotal.config.options import option
from pivotal.config.sections.pace import RELATIVE

_ADAFACTOR = ("optimizer.kind", ("adafactor",))
# Networks whose weights may be bf16: changes that are products of several factors, or rotations, are computed in fp32.
ROUNDED = ("lora", "dylora", "full")
_GROWS = ("prodigy", "dadapt adam", "dadapt sgd", "dadapt adagrad")


@dataclass(frozen=True)
class Length:
    """How long a run lasts: so many steps, or epochs, images or minutes in their place."""

    steps: int = option(
        500, "Number of optimizer updates.", ge=1, le=10_000_000, ss="ss_max_train_steps", first_page=True,
        void_when=(("length.epochs", (), "The length is given in epochs."),
                   ("length.images", (), "The length is given in images.")))
    epochs: float | None = option(
        None, "Length in epochs instead of steps; each image is seen as often in one as its repeats say. Empty: steps count.",
        above=0, le=1_000_000)
    images: int | None = option(
        None, "Length in images seen, repeats counted, instead of steps. Empty: steps count.", ge=1, le=10**10)
    minutes: float | None = option(
        None, "Ends the run after this many minutes of training, or with its last step if that comes first. Empty: no clock.",
        above=0, le=1_000_000, unit="minutes", label="Time limit")


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

    kind: Kind = option(
        "adamw", "How the weights are updated. Prodigy and D-Adaptation find the rate themselves: give them rates of 1.",
        label="Optimizer", ss="ss_optimizer",
        source="adamw arXiv:1711.05101, lion arXiv:2302.06675, adafactor arXiv:1804.04235, prodigy arXiv:2306.06101, "
               "d-adaptation arXiv:2301.07733, schedule-free arXiv:2405.15682, came arXiv:2307.02047, adan arXiv:2208.06677, "
               "ademamix arXiv:2409.03137, stableadamw arXiv:2304.13013, lamb arXiv:1904.00962, 8-bit arXiv:2110.02861")
    name: str = option("", "Class of torch.optim or pytorch_optimizer, such as RAdam or pytorch_optimizer.Amos.",
                       label="Optimizer class", shown_when=("optimizer.kind", ("other",)))
    learning_rate: float = option(
        5e-3, "Size of an update. For embeddings 0.001 to 0.02 is usual; 0 changes nothing (a control run).",
        ge=0, le=10, ss="ss_learning_rate", first_page=True, void_when=(RELATIVE,))
    beta_1: float | None = option(
        None, f"Memory of the mean gradient; momentum. Empty takes the optimizer's own: {usual_text('beta_1')}.", ge=0,
        le=0.9999, label="Beta 1", shown_when=("optimizer.kind", kinds_with("beta_1")))
    beta_2: float | None = option(
        None, f"Memory of the mean squared gradient. Empty takes the optimizer's own: {usual_text('beta_2')}.", ge=0,
        le=0.999999, label="Beta 2", shown_when=("optimizer.kind", kinds_with("beta_2")))
    beta_3: float | None = option(
        None, f"A third memory. Empty takes the optimizer's own: {usual_text('beta_3')}.", ge=0,
        le=0.999999, label="Beta 3", shown_when=("optimizer.kind", kinds_with("beta_3")))
    epsilon: float | None = option(
        None, f"Keeps an update's denominator above zero. Empty takes the optimizer's own: {usual_text('epsilon')}.", above=0,
        le=1, shown_when=("optimizer.kind", kinds_with("epsilon")))
    weight_decay: float | None = option(
        None, "Pulls the network's weights to zero by this share of the rate. Empty takes the optimizer's own: "
              f"{usual_text('weight_decay')}.", ge=0, le=1, shown_when=("optimizer.kind", kinds_with("weight_decay")))
    decay_embeddings: bool = option(False, "Lets weight decay pull at embeddings, too; usually it should not.",
                                    void_when=(("optimizer.weight_decay", (0.0,), "Weight decay is 0."),))
    nesterov: bool = option(True, "Looks ahead by the momentum before it steps; needs a beta 1.",
                            shown_when=("optimizer.kind", ("sgd",)))
    first_estimate: float = option(1e-6, "Rate with which Prodigy and D-Adaptation begin.", above=0, le=1,
                                   label="First estimate (d0)", shown_when=("optimizer.kind", FINDS_ITS_RATE))
    estimate_factor: float = option(1.0, "Multiplies the rate that Prodigy finds; 0.5 to 2 is usual.", above=0, le=1000,
                                    label="Estimate factor (d coef)", shown_when=("optimizer.kind", ("prodigy",)))
    growth_limit: float | None = option(
        None, "Most by which Prodigy and D-Adaptation may raise their rate in a step; 2 is careful. Empty: no limit.",
        above=1, le=1000, shown_when=("optimizer.kind", _GROWS))
    bias_correction: bool = option(False, "Corrects the first steps' averages as Adam does; Prodigy begins more slowly.",
                                   shown_when=("optimizer.kind", ("prodigy", "dadapt adam")))
    safeguard_warmup: bool = option(False, "Keeps a warm-up of the schedule from spoiling Prodigy's estimate.",
                                    label="Safeguard warm-up", shown_when=("optimizer.kind", ("prodigy",)))
    relative_step: bool = option(
        False, "Adafactor's own rate: 0.01 at most, then 1 / sqrt(steps). Learning rates and the schedule are not used.",
        shown_when=_ADAFACTOR)
    warmup_init: bool = option(False, "Lets the relative step rise slowly from 0: a millionth more each step.",
                               label="Relative warm-up", shown_when=_ADAFACTOR)
    scale_parameter: bool = option(False, "Multiplies Adafactor's rate by the size of what is trained.", shown_when=_ADAFACTOR)
    clip_threshold: float = option(1.0, "Scales an update down whose mean square is larger.", above=0, le=1000,
                                   label="Update clipping", shown_when=("optimizer.kind", ("adafactor", "came")))
    decay_rate: float = option(-0.8, "How fast Adafactor's memory of squared gradients grows: 1 - steps to this power.", ge=-1,
                               le=0, shown_when=_ADAFACTOR)
    arguments: tuple[str, ...] = option(
        (), "More arguments for the optimizer's class, one per line, such as cautious = True.", widget="textarea")
    ema_decay: float | None = option(
        None, "Keeps an average over the steps in place of the last values; 0.998 for small datasets. Empty: off.", ge=0,
        le=0.99999, label="EMA decay")
    ema_half_life: float | None = option(
        None, "The same average counted in images: after this many, older values count half. Batch size and accumulation do not "
        "change it.",
        above=0, le=10**9, unit="images", label="EMA half-life")
    clip_norm: float | None = option(
        None, "Shortens each part's gradient to this length at most; 1 is usual. Empty: never.", above=0, le=1000,
        label="Clip gradients at", ss="ss_max_grad_norm")


@dataclass(frozen=True)
class Precision:
    """Number formats and memory."""

    compute: Literal["auto", "fp32", "bf16", "fp16"] = option(
        "auto", "Number format of the model's work; what is trained has its own. Auto suits it to the device.",
        ss="ss_mixed_precision")
    weights: Literal["fp32", "bf16"] = option(
        "fp32", "Number format of a network's weights while they learn. Bf16 takes half the memory, and rounds by chance so that "
                "small updates count.", label="Trained weights",
        shown_when=("network.method", ROUNDED), source="arXiv:2010.06192, stochastic rounding")
    tf32: Literal["as the host", "on", "off"] = option(
        "as the host", "Lets NVIDIA cards multiply fp32 numbers faster and less exactly; only while the run lasts.",
        label="TF32")
    vae: Literal["auto", "as the host", "fp32"] = option(
        "auto", "Number format of the VAE. Auto takes fp32 for SDXL in fp16, whose VAE overflows there.", label="VAE format")
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
        None, "Takes the text encoder's output this many layers from its end. Empty: as the host does in prompts.",
        ge=1, le=12, ss="ss_clip_skip")
