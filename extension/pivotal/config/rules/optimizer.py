"""What is wrong between an optimizer and the rates it is given."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pivotal.config.train import TrainConfig

FINDS_ITS_RATE = ("prodigy", "dadapt adam")


def rate_problems(config: TrainConfig) -> dict[str, str]:
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
