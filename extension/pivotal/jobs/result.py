"""What came of a run, as its result card tells it: files, hashes, the prompt to try, the recipe."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pivotal.config.build import draft
from pivotal.config.files import read_run_file
from pivotal.config.sample_lines import sample_lines
from pivotal.config.train import TrainConfig
from pivotal.errors import FormatError, OptionError
from pivotal.formats.header import Hashes, hashes_of
from pivotal.hosts.protocol import Folders
from pivotal.jobs.paths import RunPaths, network_path, run_paths
from pivotal.jobs.watch.view import JobView
from pivotal.prompts.placeholders import find_placeholders, safe_file_name


@dataclass(frozen=True)
class ResultFile:
    """A file that a run has written."""

    path: Path
    size: int  # bytes
    hashes: Hashes | None  # None where it cannot be read any more
    is_network: bool
    prompt: str  # what to write into a prompt to use it

    @property
    def short_hash(self) -> str:
        """As A1111 writes it behind an image: 12 digits, of a network those of its tensors."""
        if self.hashes is None:
            return ""
        return (self.hashes.tensors if self.is_network else self.hashes.whole)[:12]


@dataclass(frozen=True)
class Result:
    """A finished run."""

    name: str
    files: tuple[ResultFile, ...]
    prompt: str  # to try it with
    picture: Path | None
    steps: int
    seconds: float  # spent in steps
    loss: float | None  # smoothed
    error: float | None  # measured at the last step; None where that one was not, as after a stop
    held_out: bool  # whether on images that are not trained on
    run_file: Path
    recipe: str  # the run file's text; empty when it is gone


def result_of(view: JobView, folders: Folders) -> Result | None:
    """The result of the run that `view` shows; None while there is none. Reads its files whole."""
    if view.state not in ("finished", "stopped") or not view.files:
        return None
    paths = run_paths(folders, view.name)
    files = tuple(_file(path, folders, view.prompts.get(str(path), path.stem)) for path in view.files)
    config, sample = read_recipe(paths), last_sample(view)
    return Result(
        view.name, files, prompt_to_try(view, folders, config), sample[2] if sample else None, view.step, view.seconds,
        view.smooth_loss, dict(view.measured).get(view.step), view.held_out, paths.run_file, _text_of(paths.run_file))


def read_recipe(paths: RunPaths) -> TrainConfig | None:
    """The options that a run was started with, as far as this version knows them; None without its run file."""
    try:
        return draft(TrainConfig, read_run_file(paths.run_file))[0]
    except OptionError:
        return None


def prompt_to_try(view: JobView, folders: Folders, config: TrainConfig | None) -> str:
    """The run's first sample prompt with the network's tag; without samples the tag and the words alone."""
    network = network_path(folders, view.name)
    words = words_of(config) if config else {}
    if network in view.files:
        tag, _, own = view.prompts.get(str(network), f"<lora:{network.stem}:1>").partition(">")
        return in_prompt(f"{tag}>", first_prompt(view, config), words or {own.strip(): own.strip()})
    own_words = {path.stem: path.stem for path in view.files}
    return in_prompt("", first_prompt(view, config), words or own_words)


def words_of(config: TrainConfig) -> dict[str, str]:
    """Placeholder -> the word of prompts, of all embeddings that a run used; without any its trigger word."""
    trigger = config.caption.trigger_word
    words = {row.placeholder: safe_file_name(row.placeholder) for row in config.embeddings}
    return words or ({trigger: trigger} if trigger else {})


def first_prompt(view: JobView, config: TrainConfig | None) -> str:
    """The prompt that the run drew first; empty without one."""
    sample = last_sample(view)
    if sample is not None:
        return sample[1].removesuffix(" (raw)")
    lines = run_prompts(config)
    return lines[0] if lines else ""


def last_sample(view: JobView) -> tuple[int, str, Path] | None:
    """Step, prompt and file of the first image that was drawn the last time."""
    return next((sample for sample in view.samples if sample[0] == view.samples[-1][0]), None)


def run_prompts(config: TrainConfig | None) -> list[str]:
    """The sample prompts of a run without their flags."""
    try:
        return [line.prompt for line in sample_lines(config.samples.prompts)] if config else []
    except ValueError:
        return []


def in_prompt(tag: str, prompt: str, words: Mapping[str, str]) -> str:
    """`prompt` with `tag` before it and placeholders as words; where it has none of the words, they stand before it."""
    prompt = with_words(prompt, words)
    if not find_placeholders(prompt, words.values()):
        prompt = ", ".join(filter(None, (" ".join(words.values()), prompt)))
    return " ".join(filter(None, (tag, prompt)))


def with_words(prompt: str, placeholders: Mapping[str, str]) -> str:
    """`prompt` with each placeholder as the word that stands for it."""
    for start, end, name in reversed(find_placeholders(prompt, placeholders)):
        prompt = prompt[:start] + placeholders[name] + prompt[end:]
    return prompt


def _file(path: Path, folders: Folders, prompt: str) -> ResultFile:
    try:
        size, hashes = path.stat().st_size, hashes_of(path)
    except (OSError, FormatError):
        size, hashes = 0, None
    return ResultFile(path, size, hashes, path.parent == folders.loras, prompt)


def _text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""
