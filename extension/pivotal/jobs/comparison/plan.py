"""A comparison before its first image: its rows and columns, checked, and how each image is drawn."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pivotal.config.build import build
from pivotal.config.resolution import resolutions_of
from pivotal.config.sample_lines import SampleLine, sample_lines
from pivotal.config.sections.output import Samples
from pivotal.config.train import TrainConfig
from pivotal.errors import OptionError
from pivotal.formats.header import read_metadata
from pivotal.hosts.protocol import Folders
from pivotal.jobs.comparison.saves import Save, listed_saves, recipe_of, run_saves
from pivotal.jobs.comparison.settings import MOST_IMAGES, Comparison
from pivotal.jobs.paths import run_paths
from pivotal.jobs.result import with_words, words_of
from pivotal.models.generate import GenerateSettings
from pivotal.prompts.placeholders import safe_file_name

WORD = "{word}"


@dataclass(frozen=True)
class Column:
    """One prompt as it is drawn in every row."""

    prompt: str
    negative: str
    strength: float | None  # None where no network is compared
    settings: GenerateSettings  # sides 0: the checkpoint's

    @property
    def seed(self) -> int:
        return self.settings.seed


@dataclass(frozen=True)
class ComparePlan:
    """What will be drawn: every row's saves with every column's prompt."""

    title: str
    rows: tuple[Save, ...]
    columns: tuple[Column, ...]
    folder: Path  # under which the images are kept
    run: str = ""
    let_prompts_through: bool = True

    @property
    def images(self) -> int:
        """How many are drawn; rows without a network look the same at every strength."""
        return self.images_from(0)

    def images_from(self, row: int) -> int:
        """How many are drawn in that row and those below it."""
        return sum(len({key_of(save, column) for column in self.columns}) for save in self.rows[row:])


def key_of(save: Save, column: Column) -> Column:
    """Columns of one key have the same image in `save`'s row: a strength is that of a network."""
    return column if save.network else dataclasses.replace(column, strength=None)


def make_compare_plan(flat: Mapping[str, Any], folders: Folders) -> ComparePlan:
    """Checks what was asked for, and finds the files.

    Raises:
        OptionError: with every problem by key.
    """
    asked = build(Comparison, flat)
    recipe = recipe_of(folders, asked.run) if asked.run else None
    saves = [*(run_saves(folders, recipe) if recipe else []), *listed_saves(folders, asked.files)]
    if not saves:
        raise OptionError({"run": f"the run {asked.run!r} has left no file to compare"})
    rows = [*([Save("", "without")] if asked.base else []), *saves]
    strengths: tuple[float | None, ...] = asked.all_strengths if any(save.network for save in saves) else (None,)
    columns = [dataclasses.replace(column, strength=strength)
               for column in _prompts(asked, recipe, saves) for strength in strengths]
    folder = run_paths(folders, recipe.name).folder / "comparison" if recipe else folders.scratch / "comparisons"
    plan = ComparePlan(_title(asked), tuple(rows), tuple(columns), folder, recipe.name if recipe else "",
                       asked.let_prompts_through)
    if plan.images > MOST_IMAGES:
        raise OptionError({"prompts": f"{plan.images} images are asked for: {len(rows)} rows of {len(columns)} columns; "
                                      f"{MOST_IMAGES} are the most. Fewer prompts, strengths, seeds or files are less."})
    return plan


def _title(asked: Comparison) -> str:
    names = [*([asked.run] if asked.run else []), *(Path(name).stem for name in asked.files)]
    return ", ".join(names[:3]) + (" ..." if len(names) > 3 else "")


def _prompts(asked: Comparison, recipe: TrainConfig | None, saves: list[Save]) -> list[Column]:
    """Every prompt at every seed; the strength is still open."""
    samples, columns = recipe.samples if recipe else Samples(), []
    height, width = (samples.size,) * 2 if samples.size else resolutions_of(recipe.dataset.resolution, 0)[0] if recipe else (0, 0)
    for line in _lines(asked, recipe, saves):
        settings = GenerateSettings(
            width=_first(asked.size, line.width, width), height=_first(asked.size, line.height, height),
            steps=_first(asked.steps, line.steps, samples.steps), sampler=_first(asked.sampler, line.sampler, samples.sampler),
            cfg_scale=_first(asked.cfg_scale, line.cfg_scale, samples.cfg_scale))
        negative = _first(asked.negative, line.negative, samples.negative)
        columns += [Column(line.prompt, negative, None, dataclasses.replace(settings, seed=seed))
                    for seed in asked.all_seeds or (_first(line.seed, samples.seed),)]
    return columns


def _first(*values: Any) -> Any:
    """The first that is given."""
    return next(value for value in values if value is not None)


def _lines(asked: Comparison, recipe: TrainConfig | None, saves: list[Save]) -> list[SampleLine]:
    """The prompts with what their flags say (config/sample_lines.py), placeholders as the words that files are found by."""
    try:
        lines = sample_lines(asked.prompts or (recipe.samples.prompts if recipe else ()))
    except ValueError as error:
        raise OptionError({"prompts": str(error)}) from error
    words = words_of(recipe) if recipe else {}
    if not lines:
        lines = [SampleLine(WORD if any(words_in(save) for save in saves) else " ".join(words.values()))]
    return [dataclasses.replace(line, prompt=with_words(line.prompt, words)) for line in lines]


def words_in(save: Save) -> tuple[str, ...]:
    """The words that a save is used with, as its files say."""
    said = read_metadata(save.network).get("modelspec.trigger_phrase", "") if save.network else ""
    own = (safe_file_name(word) for word in said.split(",") if word.strip())
    return tuple(dict.fromkeys((*own, *save.embeddings)))
