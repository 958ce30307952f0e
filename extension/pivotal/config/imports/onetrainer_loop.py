"""OneTrainer's schedule, average and loss."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pivotal.config.imports.rules import Reading, number

_SCHEDULES = {
    "CONSTANT": "constant",
    "LINEAR": "linear",
    "COSINE": "cosine",
    "COSINE_WITH_RESTARTS": "cosine wave",
    "COSINE_WITH_HARD_RESTARTS": "cosine with restarts",
    "REX": "rex",
    "ADAFACTOR": "constant",
}
_DISTRIBUTIONS = {
    "UNIFORM": "uniform",
    "SIGMOID": "sigmoid",
    "LOGIT_NORMAL": "logit normal",
    "HEAVY_TAIL": "heavy tail",
    "COS_MAP": "cos map",
    "INVERTED_PARABOLA": "inverted parabola",
}


def schedule_of(rest: Mapping[str, Any], reading: Reading, accumulation: int) -> None:
    kind, ours = str(rest.get("learning_rate_scheduler") or "CONSTANT"), reading.flat
    if kind in _SCHEDULES:
        ours["schedule.kind"] = _SCHEDULES[kind]
    elif kind != "CUSTOM":
        reading.leave("learning_rate_scheduler", kind, "There is no schedule of this name.")
    if kind == "COSINE_WITH_RESTARTS":
        reading.change("learning_rate_scheduler", kind, "OneTrainer's is a smooth wave; kohya's of that name is sudden.")
    if kind == "ADAFACTOR":
        ours["optimizer.relative_step"] = True
    warmup = number(rest.get("learning_rate_warmup_steps")) or 0
    ours["schedule.warmup"] = warmup / accumulation if warmup > 1 else warmup
    if warmup > 1 and accumulation > 1:
        reading.change("learning_rate_warmup_steps", warmup, "OneTrainer counts batches; divided by the accumulation.")


def ema_of(rest: Mapping[str, Any], reading: Reading) -> None:
    """Every so many updates at one decay there; every update here, so that the average is as slow."""
    decay, interval = number(rest.get("ema_decay")), number(rest.get("ema_update_step_interval")) or 5
    if str(rest.get("ema", "OFF")) == "OFF" or decay is None or not 0 < decay < 1:
        return
    reading.flat["optimizer.ema_decay"] = round(decay ** (1 / interval), 6)
    reading.flat["performance.averages_on_cpu"] = str(rest.get("ema")) == "CPU" or None
    reading.change("ema_decay", decay, f"Averaged in every step here and not in every {interval:g}th: the root of it.")


def loss_of(rest: Mapping[str, Any], reading: Reading) -> None:
    names = {"mse": "mse_strength", "l1": "mae_strength", "log-cosh": "log_cosh_strength", "exact huber": "huber_strength"}
    usual = {"mse_strength": 1.0}
    weights = {kind: number(rest.get(name, usual.get(name, 0))) or 0 for kind, name in names.items()}
    used, ours = {kind: weight for kind, weight in weights.items() if weight}, reading.flat
    if len(used) == 1 and 1.0 in used.values():
        ours["loss.kind"] = next(iter(used))
    elif used:
        ours["loss.mix"] = ", ".join(f"{kind} {weight:g}" for kind, weight in used.items())
    if "exact huber" in used:
        ours |= {"loss.huber_c": rest.get("huber_delta", 1.0), "loss.huber_schedule": "constant"}
    distribution, weight = str(rest.get("timestep_distribution") or "UNIFORM"), number(rest.get("noising_weight")) or 0
    if distribution not in _DISTRIBUTIONS:
        reading.leave("timestep_distribution", distribution, f"Known are {', '.join(_DISTRIBUTIONS)}.")
    elif distribution != "UNIFORM":
        ours |= {"timesteps.distribution": _DISTRIBUTIONS[distribution], "timesteps.bias": rest.get("noising_bias", 0)}
        if distribution == "LOGIT_NORMAL":
            ours["timesteps.spread"] = weight + 1
            reading.change("noising_weight", weight, "The width of the logit-normal is this and 1.")
        elif distribution != "COS_MAP":
            ours["timesteps.strength"] = weight
