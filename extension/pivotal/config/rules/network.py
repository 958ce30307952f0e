"""What is wrong, or unusual, between the options of a network."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pivotal.config.optimizers import SCHEDULE_FREE
from pivotal.config.rules.stops import stop_problems
from pivotal.config.sections.training import ROUNDED

if TYPE_CHECKING:
    from pivotal.config.train import TrainConfig


def _rounding_problems(config: TrainConfig) -> dict[str, str]:
    """Of weights that are kept in bf16."""
    key, network = "precision.weights", config.network
    if network.method not in ROUNDED:
        return {key: f"{network.method} learns in fp32; choose fp32, or the network {', '.join(ROUNDED[:-1])} or {ROUNDED[-1]}"}
    if network.dora:
        return {key: "DoRA's lengths are compared with those of the weights in fp32; choose fp32, or switch DoRA off"}
    if config.optimizer.kind in SCHEDULE_FREE:
        return {key: f"{config.optimizer.kind} goes between its average and its path in fp32; choose fp32"}
    return {}


def network_problems(config: TrainConfig) -> dict[str, str]:
    """Problems by key."""
    network, targets = config.network, config.targets
    found = stop_problems("targets.stop_after", targets.stop_after, "targets.stop_unit", targets.stop_unit)
    found |= stop_problems("targets.text_encoder_stop_after", targets.text_encoder_stop_after,
                            "targets.text_encoder_stop_unit", targets.text_encoder_stop_unit)
    if network.method == "none":
        return found
    if not (targets.unet or targets.text_encoder_1 or targets.text_encoder_2):
        found["targets.unet"] = "the network is on nothing; switch the UNet or a text encoder on"
    if network.dora and network.method not in ("lora", "loha", "lokr"):
        found["network.dora"] = f"DoRA is defined for lora, loha and lokr, not for {network.method}"
    if config.precision.weights != "fp32":
        found |= _rounding_problems(config)
    if network.rank_from_file and not network.base_file:
        found["network.base_file"] = "the rank shall come from a file; name it"
    if network.conv_rank is None and (config.blocks.conv_ranks or config.blocks.conv_alphas):
        found["network.conv_rank"] = "needs a number, as the blocks' convolutions have ranks or alphas of their own"
    if config.pivot.order != "together" and not any(row.train for row in config.embeddings):
        found["pivot.order"] = f"{config.pivot.order!r} needs an embedding that is trained"
    if config.length.epochs is None and config.length.images is None:  # else the steps are not known yet
        found |= pivot_problems(config)
    try:
        re.compile(targets.filter)
    except re.error as error:
        found["targets.filter"] = f"is no regular expression: {error}"
    return found


def pivot_problems(config: TrainConfig) -> dict[str, str]:
    """Whether the pivot lies within the run, once its number of steps is known."""
    if config.network.method == "none" or config.pivot.order == "together" or config.pivot_step < config.length.steps:
        return {}
    return {"pivot.at": f"the pivot, step {config.pivot_step}, is not within the run's {config.length.steps} steps"}


def network_notices(config: TrainConfig) -> dict[str, str]:
    """What is allowed and perhaps not meant, by key."""
    network, found = config.network, {}
    if network.method == "none":
        return found
    if network.alpha > network.rank and not network.rank_from_file:
        found["network.alpha"] = (f"Alpha {network.alpha:g} is more than rank {network.rank}: the network acts "
                                  f"{network.alpha / network.rank:g} times as strongly as its weights say.")
    if network.conv_alpha is not None and network.conv_rank is not None and network.conv_alpha > network.conv_rank:
        found["network.conv_alpha"] = f"Convolution alpha {network.conv_alpha:g} is more than its rank {network.conv_rank}."
    return found
