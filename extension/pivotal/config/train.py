"""All options of a run, joined."""

from __future__ import annotations

from dataclasses import dataclass

from pivotal.config.options import group, option, rows
from pivotal.config.rules import problems_between
from pivotal.config.sections.augment import Augment
from pivotal.config.sections.buckets import Buckets
from pivotal.config.sections.cache import Cache
from pivotal.config.sections.caption import Caption
from pivotal.config.sections.concept import Concept
from pivotal.config.sections.dataset import Dataset
from pivotal.config.sections.embedding import Embedding
from pivotal.config.sections.guard import Guard, Performance
from pivotal.config.sections.logs import Logs
from pivotal.config.sections.loss import Loss, Noise, Timesteps
from pivotal.config.sections.mask import Mask
from pivotal.config.sections.measure import Measure
from pivotal.config.sections.network import WHEN, Blocks, Network, Pivot, Targets
from pivotal.config.sections.output import Samples, Save, Sharing
from pivotal.config.sections.pace import Schedule
from pivotal.config.sections.training import Batch, Length, Objective, Optimizer, Precision


@dataclass(frozen=True)
class TrainConfig:
    """One run: what is trained, on what, for how long."""

    name: str = option("my run", "Names the run: the network's file and its tag, and the folder for samples and states.",
                       label="Run name",
                       first_page=True, ss="ss_session_id")
    checkpoint: str = option("", "Checkpoint to train on. Empty takes the one the host has loaded.",
                             ss="ss_sd_model_name")
    dataset: Dataset = group(Dataset, chapter="Data")
    caption: Caption = group(Caption)
    buckets: Buckets = group(Buckets)
    augment: Augment = group(Augment)
    cache: Cache = group(Cache)
    concepts: tuple[Concept, ...] = rows(first_page=False)
    embeddings: tuple[Embedding, ...] = rows()
    network: Network = group(Network, chapter="Training")
    targets: Targets = group(Targets, WHEN)
    blocks: Blocks = group(Blocks, WHEN)
    pivot: Pivot = group(Pivot, WHEN)
    length: Length = group(Length)
    batch: Batch = group(Batch)
    optimizer: Optimizer = group(Optimizer)
    schedule: Schedule = group(Schedule)
    objective: Objective = group(Objective)
    mask: Mask = group(Mask)
    loss: Loss = group(Loss)
    noise: Noise = group(Noise)
    timesteps: Timesteps = group(Timesteps)
    precision: Precision = group(Precision)
    performance: Performance = group(Performance)
    guard: Guard = group(Guard)
    samples: Samples = group(Samples, chapter="While it runs, and after")
    save: Save = group(Save)
    sharing: Sharing = group(Sharing)
    measure: Measure = group(Measure)
    logs: Logs = group(Logs)
    seed: int = option(1, "Makes a run repeatable: order, noise and timesteps all come from it.", ge=0, le=2**32 - 1,
                       ss="ss_seed")

    def problems(self) -> dict[str, str]:
        """What is wrong between options, by key."""
        return problems_between(self)

    @property
    def pivot_step(self) -> int:
        """The step at which embeddings and the network take turns."""
        return max(1, round(self.pivot.at * self.length.steps)) if self.pivot.at < 1 else int(self.pivot.at)
