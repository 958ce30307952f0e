"""What is wrong between the options of prediction, noise and loss."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pivotal.config.train import TrainConfig


def objective_problems(config: TrainConfig) -> dict[str, str]:
    """Problems by key."""
    found = {}
    if config.objective.zero_terminal_snr == "on" and config.objective.prediction == "epsilon":
        found["objective.zero_terminal_snr"] = "pure noise says nothing of itself: predicting epsilon cannot learn from it"
    if config.timesteps.minimum >= config.timesteps.maximum:
        found["timesteps.maximum"] = f"must be more than the first timestep, {config.timesteps.minimum}"
    return found
