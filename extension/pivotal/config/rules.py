"""What is wrong, or unusual, between the options of a run."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pivotal.config.train import TrainConfig

FINDS_ITS_RATE = ("prodigy", "dadapt adam")


def problems_between(config: TrainConfig) -> dict[str, str]:
    """What must be mended before the run can begin, by key."""
    found = _dataset_problems(config) | _embedding_problems(config) | _network_problems(config) | _rate_problems(config)
    if config.objective.zero_terminal_snr == "on" and config.objective.prediction == "epsilon":
        found["objective.zero_terminal_snr"] = "pure noise says nothing of itself: predicting epsilon cannot learn from it"
    if config.timesteps.minimum >= config.timesteps.maximum:
        found["timesteps.maximum"] = f"must be more than the first timestep, {config.timesteps.minimum}"
    if not config.name.strip():
        found["name"] = "needs a name; it becomes the run's folder"
    return found


def notices_between(config: TrainConfig) -> dict[str, str]:
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


def _dataset_problems(config: TrainConfig) -> dict[str, str]:
    found, dataset = {}, config.dataset
    if not dataset.folder:
        found["dataset.folder"] = "needs the folder that holds your images"
    if dataset.captions == "own" and not dataset.templates:
        found["dataset.templates"] = "needs at least one line, for instance: a photo of [name]"
    if not re.fullmatch(r"\.\w+", dataset.caption_extension.strip()):
        found["dataset.caption_extension"] = f"expected a dot and letters, as .txt; got {dataset.caption_extension!r}"
    if not config.caption.delimiter.strip() and (config.caption.shuffle or config.caption.tag_dropout):
        found["caption.delimiter"] = "needs the sign that parts tags, for instance a comma"
    for key, side in (("dataset.resolution", dataset.resolution), ("samples.size", config.samples.size)):
        if side is not None and side % 8:
            found[key] = f"expected a multiple of 8, got {side}"
    return found


def _embedding_problems(config: TrainConfig) -> dict[str, str]:
    rows, alone = config.embeddings, config.network.method == "none"
    if not rows:
        return {"embeddings": "nothing to train; add an embedding, or choose a network"} if alone else {}
    found: dict[str, str] = {}
    if alone and not any(row.train for row in rows):
        found["embeddings.0.train"] = "nothing to train; switch at least one embedding on"
    first: dict[str, int] = {}
    for index, row in enumerate(rows):
        key, name = f"embeddings.{index}", row.placeholder.strip().lower()
        if name in first:
            found[f"{key}.placeholder"] = (
                f"{row.placeholder!r} is also the word of embedding {first[name] + 1}; give each its own "
                "(upper and lower case are the same to the text encoder)")
        first.setdefault(name, index)
        found |= _stop_problems(f"{key}.stop_after", row.stop_after, f"{key}.stop_unit", row.stop_unit)
        if not row.train and not row.base_embedding and not config.network.base_file:
            found[f"{key}.base_embedding"] = "an embedding that is not trained needs a file"
    return found


def _stop_problems(key: str, after: float | None, unit_key: str, unit: str) -> dict[str, str]:
    if after is not None and unit == "never":
        return {unit_key: f"stop after {after:g} needs a unit other than never"}
    if after is None and unit != "never":
        return {key: f"needs a number of {unit}, or the unit never"}
    if after is not None and unit == "percent" and after > 100:
        return {key: f"expected at most 100 percent, got {after:g}"}
    return {}


def _network_problems(config: TrainConfig) -> dict[str, str]:
    network, targets = config.network, config.targets
    found = _stop_problems("targets.stop_after", targets.stop_after, "targets.stop_unit", targets.stop_unit)
    found |= _stop_problems("targets.text_encoder_stop_after", targets.text_encoder_stop_after,
                            "targets.text_encoder_stop_unit", targets.text_encoder_stop_unit)
    if network.method == "none":
        return found
    if not (targets.unet or targets.text_encoder_1 or targets.text_encoder_2):
        found["targets.unet"] = "the network is on nothing; switch the UNet or a text encoder on"
    if network.dora and network.method not in ("lora", "loha", "lokr"):
        found["network.dora"] = f"DoRA is defined for lora, loha and lokr, not for {network.method}"
    if network.rank_from_file and not network.base_file:
        found["network.base_file"] = "the rank shall come from a file; name it"
    if network.conv_rank is None and (config.blocks.conv_ranks or config.blocks.conv_alphas):
        found["network.conv_rank"] = "needs a number, as the blocks' convolutions have ranks or alphas of their own"
    if config.pivot.order != "together" and not any(row.train for row in config.embeddings):
        found["pivot.order"] = f"{config.pivot.order!r} needs an embedding that is trained"
    if config.pivot.order != "together" and config.pivot_step >= config.length.steps:
        found["pivot.at"] = f"the pivot, step {config.pivot_step}, is not within the run's {config.length.steps} steps"
    try:
        re.compile(targets.filter)
    except re.error as error:
        found["targets.filter"] = f"is no regular expression: {error}"
    return found


def _rate_problems(config: TrainConfig) -> dict[str, str]:
    """Prodigy and D-Adaptation multiply what they find by the learning rate, which therefore is near 1."""
    optimizer, targets = config.optimizer, config.targets
    if optimizer.kind not in FINDS_ITS_RATE:
        return {}
    trained = any(row.train for row in config.embeddings)
    rates = {f"embeddings.{index}.learning_rate": row.learning_rate for index, row in enumerate(config.embeddings)
             if row.train and row.learning_rate is not None}
    if trained and any(row.train and row.learning_rate is None for row in config.embeddings):
        rates["optimizer.learning_rate"] = optimizer.learning_rate
    if config.network.method != "none":
        rates |= {key: rate for key, on, rate in (
            ("targets.learning_rate", targets.unet, targets.learning_rate),
            ("targets.text_encoder_1_rate", targets.text_encoder_1, targets.text_encoder_1_rate),
            ("targets.text_encoder_2_rate", targets.text_encoder_2, targets.text_encoder_2_rate)) if on}
    found = {key: f"{optimizer.kind} finds the rate itself and multiplies it by this; expected about 1 (0 to change "
                  f"nothing), got {rate:g}" for key, rate in rates.items() if 0 < rate < 0.1}
    if config.network.method != "none" and config.blocks.weights:
        found["blocks.weights"] = f"{optimizer.kind} keeps one rate for all blocks; leave the list empty"
    if config.network.method != "none" and config.network.plus_ratio != 1:
        found["network.plus_ratio"] = f"{optimizer.kind} keeps one rate for both matrices; set 1"
    return found
