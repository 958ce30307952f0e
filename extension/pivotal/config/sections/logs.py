"""Where a run's numbers are written, beside the page."""

from __future__ import annotations

from dataclasses import dataclass

from pivotal.config.options import option


@dataclass(frozen=True)
class Logs:
    """The numbers of a run, for other programs."""

    csv: bool = option(True, "Writes each step's loss and rates to steps.csv in the run's folder.", label="CSV")
    tensorboard: bool = option(
        False, "Writes curves and samples for TensorBoard into the run's folder; only viewing them needs TensorBoard.",
        label="TensorBoard")
    wandb: str = option(
        "", "Sends curves and samples to this project of Weights & Biases; needs its package and your login. Empty is off.",
        label="W&B project")
