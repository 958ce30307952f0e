"""What is wrong, or unusual, between an optimizer, what it is given, and the rest of a run."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING

from pivotal.config.optimizers import EIGHT_BIT, FINDS_ITS_RATE, SCHEDULE_FREE, USUAL, Usual, parse_arguments

if TYPE_CHECKING:
    from pivotal.config.train import TrainConfig


def optimizer_problems(config: TrainConfig) -> dict[str, str]:
    """Problems by key."""
    return _value_problems(config) | _rate_problems(config) | _schedule_free_problems(config)


def rates_of(config: TrainConfig) -> dict[str, float]:
    """The learning rates with which something of the run learns, by the key that sets each."""
    optimizer, targets = config.optimizer, config.targets
    rates = {f"embeddings.{index}.learning_rate": row.learning_rate for index, row in enumerate(config.embeddings)
             if row.train and row.learning_rate is not None}
    if any(row.train and row.learning_rate is None for row in config.embeddings):
        rates["optimizer.learning_rate"] = optimizer.learning_rate
    if config.network.method != "none":
        rates |= {key: rate for key, on, rate in (
            ("targets.learning_rate", targets.unet, targets.learning_rate),
            ("targets.text_encoder_1_rate", targets.text_encoder_1, targets.text_encoder_1_rate),
            ("targets.text_encoder_2_rate", targets.text_encoder_2, targets.text_encoder_2_rate)) if on}
    return rates


def _value_problems(config: TrainConfig) -> dict[str, str]:
    optimizer, found = config.optimizer, {}
    for field in fields(Usual):
        if getattr(optimizer, field.name) is not None and getattr(USUAL[optimizer.kind], field.name) is None:
            where = "write it among the arguments" if optimizer.kind == "other" else "leave it empty"
            found[f"optimizer.{field.name}"] = f"{optimizer.kind} has no {field.name.replace('_', ' ')}; {where}"
    if optimizer.kind == "other" and not optimizer.name.strip():
        found["optimizer.name"] = "needs the name of a class, as RAdam"
    try:
        parse_arguments(optimizer.arguments)
    except ValueError as error:
        found["optimizer.arguments"] = str(error)
    if optimizer.kind == "sgd" and optimizer.nesterov and optimizer.beta_1 == 0:
        found["optimizer.nesterov"] = "looking ahead by the momentum needs a beta 1 above 0"
    if optimizer.kind == "adafactor" and optimizer.warmup_init and not optimizer.relative_step:
        found["optimizer.warmup_init"] = "is part of the relative step; switch that on, or use the schedule's warm-up"
    if optimizer.ema_decay is not None and optimizer.ema_half_life is not None:
        found["optimizer.ema_half_life"] = "the EMA decay is given already; leave one of the two empty"
    return found


def _rate_problems(config: TrainConfig) -> dict[str, str]:
    """Prodigy and D-Adaptation multiply what they find by the learning rate, which therefore is near 1."""
    kind, found = config.optimizer.kind, {}
    if kind in FINDS_ITS_RATE:
        found = {key: f"{kind} finds the rate itself and multiplies it by this; expected about 1 (0 to change nothing), "
                      f"got {rate:g}" for key, rate in rates_of(config).items() if 0 < rate < 0.1}
        alone = f"{kind} keeps one rate for all"
    elif kind == "adafactor" and config.optimizer.relative_step:
        alone = "the relative step is one rate for all"
    else:
        return {}
    if config.network.method != "none" and config.blocks.weights:
        found["blocks.weights"] = f"{alone} blocks; leave the list empty"
    if config.network.method != "none" and config.network.plus_ratio != 1:
        found["network.plus_ratio"] = f"{alone} matrices; set 1"
    return found


def _schedule_free_problems(config: TrainConfig) -> dict[str, str]:
    """Schedule-free methods average over the whole run, which takes a schedule's place and EMA's."""
    optimizer, found = config.optimizer, {}
    if optimizer.kind not in SCHEDULE_FREE:
        return {}
    if config.schedule.kind != "constant":
        found["schedule.kind"] = f"{optimizer.kind} averages in place of a schedule; choose constant (a warm-up is fine)"
    if config.network.method != "none" and config.targets.schedule not in ("as the run", "constant"):
        found["targets.schedule"] = f"{optimizer.kind} averages in place of a schedule; choose constant"
    if config.network.method != "none" and config.network.norm_limit is not None:
        found["network.norm_limit"] = f"{optimizer.kind} keeps an average that scaling after a step would spoil; leave it empty"
    if optimizer.ema_decay is not None or optimizer.ema_half_life is not None:
        key = "optimizer.ema_decay" if optimizer.ema_decay is not None else "optimizer.ema_half_life"
        found[key] = f"{optimizer.kind} keeps an average itself; leave it empty"
    if optimizer.beta_1 == 0:
        found["optimizer.beta_1"] = f"{optimizer.kind} goes from its average to its path by beta 1, which must be above 0"
    for index, row in enumerate(config.embeddings):
        if row.train and row.schedule not in ("as the run", "constant"):
            found[f"embeddings.{index}.schedule"] = f"{optimizer.kind} averages in place of a schedule; choose constant"
        if row.train and row.preserve_norm:
            found[f"embeddings.{index}.preserve_norm"] = (
                f"{optimizer.kind} keeps an average that rescaling after a step would spoil; switch it off")
    return found


def optimizer_notices(config: TrainConfig) -> dict[str, str]:
    """What is allowed and perhaps not meant, by key."""
    optimizer, found = config.optimizer, {}
    if optimizer.kind == "adafactor" and optimizer.relative_step:
        found["optimizer.relative_step"] = (
            "Adafactor takes its relative step: learning rates (also rates of 0), schedules and warm-up are not used.")
    if optimizer.kind in EIGHT_BIT and any(row.train for row in config.embeddings):
        found["optimizer.kind"] = ("Embeddings of fewer than 4096 numbers (5 vectors of SD 1) keep 32-bit states; "
                                   "8 bits save memory with networks.")
    if optimizer.kind not in FINDS_ITS_RATE and optimizer.kind != "schedule-free sgd":
        large = {key: rate for key, rate in rates_of(config).items() if rate >= 0.5}
        found |= {key: f"A rate of {rate:g} is meant for Prodigy and D-Adaptation; {optimizer.kind} may leap with it."
                  for key, rate in large.items()}
    return found
