"""One embedding (textual inversion) of a run: a row of the table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pivotal.config.options import option
from pivotal.config.sections.pace import OwnSchedule, StopUnit


@dataclass(frozen=True)
class Embedding:
    """Vectors that stand for a placeholder in captions and prompts (Gal et al. 2022, arXiv:2208.01618)."""

    placeholder: str = option(
        "<embedding>", "Word for the embedding: in your captions, in prompts, and the name of its file.",
        counts_as="token_count", first_page=True)
    token_count: int | None = option(
        None, "Number of vectors. Empty takes as many as the initial text has tokens.", ge=1, le=75, label="Token count",
        first_page=True)
    initial_text: str = option(
        "*", "Where the vectors start: words for what your images show.", tokens="caption",
        cut_to="token_count", filled_by="fill", first_page=True)
    fill: Literal["pad", "repeat", "stretch", "random"] = option(
        "pad", "Fills missing vectors if the text is too short: with *, the text again, each token stretched, or noise.",
        label="If too short")
    base_embedding: str = option(
        "", "Continues from this embedding file, or from a LoRA that bundles it, instead of the initial text.", widget="folder")
    train: bool = option(True, "Trains it. Off: a finished embedding that captions may use, left as it is.")
    learning_rate: float | None = option(
        None, "Its own learning rate. Empty takes the optimizer's.", above=0, le=10, label="Learning rate")
    stop_after: float | None = option(
        None, "Freezes this embedding after this much training. Empty trains to the end.", above=0)
    stop_unit: StopUnit = option(
        "never", "Unit of Stop after: a step is one optimizer update; never trains to the end.")
    schedule: OwnSchedule = option("as the run", "Learning-rate schedule of this embedding.")
    rates: str = option("", "Its own rates for the schedule rate list, such as 0.005:100, 0.001. Empty takes the run's list.",
                        label="Rate list")
    preserve_norm: bool = option(
        False, "Rescales each vector after each step to the median length of its text encoder's own vectors.")
