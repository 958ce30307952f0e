"""All options of a run, joined."""

from __future__ import annotations

from dataclasses import dataclass

from pivotal.config.options import group, option, rows
from pivotal.config.sections.dataset import Dataset
from pivotal.config.sections.embedding import Embedding
from pivotal.config.sections.output import Measure, Samples, Save
from pivotal.config.sections.training import Batch, Length, Objective, Optimizer, Precision


@dataclass(frozen=True)
class TrainConfig:
    """One run: what is trained, on what, for how long."""

    name: str = option("my run", "Names the run: its folder for samples, states and logs.", label="Run name",
                       first_page=True, ss="ss_session_id")
    checkpoint: str = option("", "Checkpoint to train on. Empty takes the one the host has loaded.",
                             ss="ss_sd_model_name")
    dataset: Dataset = group(Dataset)
    embeddings: tuple[Embedding, ...] = rows()
    length: Length = group(Length)
    batch: Batch = group(Batch)
    optimizer: Optimizer = group(Optimizer)
    objective: Objective = group(Objective)
    precision: Precision = group(Precision)
    samples: Samples = group(Samples)
    save: Save = group(Save)
    measure: Measure = group(Measure)
    seed: int = option(1, "Makes a run repeatable: order, noise and timesteps all come from it.", ge=0, le=2**32 - 1,
                       ss="ss_seed")

    def problems(self) -> dict[str, str]:
        """What is wrong between options, by key."""
        found = self._dataset_problems() | self._embedding_problems()
        if not self.name.strip():
            found["name"] = "needs a name; it becomes the run's folder"
        return found

    def _dataset_problems(self) -> dict[str, str]:
        found = {}
        if not self.dataset.folder:
            found["dataset.folder"] = "needs the folder that holds your images"
        if self.dataset.captions == "own" and not self.dataset.templates:
            found["dataset.templates"] = "needs at least one line, for instance: a photo of [name]"
        if self.dataset.resolution is not None and self.dataset.resolution % 8:
            found["dataset.resolution"] = f"expected a multiple of 8, got {self.dataset.resolution}"
        if self.samples.size is not None and self.samples.size % 8:
            found["samples.size"] = f"expected a multiple of 8, got {self.samples.size}"
        return found

    def _embedding_problems(self) -> dict[str, str]:
        if not self.embeddings:
            return {"embeddings": "nothing to train; add an embedding"}
        found: dict[str, str] = {}
        if not any(row.train for row in self.embeddings):
            found["embeddings.0.train"] = "nothing to train; switch at least one embedding on"
        first: dict[str, int] = {}
        for index, row in enumerate(self.embeddings):
            name = row.placeholder.strip().lower()
            if name in first:
                found[f"embeddings.{index}.placeholder"] = (
                    f"{row.placeholder!r} is also the word of embedding {first[name] + 1}; give each its own "
                    "(upper and lower case are the same to the text encoder)")
            first.setdefault(name, index)
            if row.stop_after is not None and row.stop_unit == "never":
                found[f"embeddings.{index}.stop_unit"] = f"stop after {row.stop_after:g} needs a unit other than never"
            if row.stop_after is None and row.stop_unit != "never":
                found[f"embeddings.{index}.stop_after"] = f"needs a number of {row.stop_unit}, or the unit never"
            if not row.train and not row.base_embedding:
                found[f"embeddings.{index}.base_embedding"] = "an embedding that is not trained needs a file"
        return found
