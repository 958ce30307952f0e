"""Everything that can be known to be wrong with a run before anything is loaded, all at once."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pivotal.config.build import draft
from pivotal.config.options import flatten
from pivotal.config.sections.dataset import Dataset
from pivotal.config.train import TrainConfig
from pivotal.data.captions import Captions
from pivotal.data.folder import Item, read_items
from pivotal.embeddings.initialize import vector_count
from pivotal.errors import DatasetError, FormatError, HostError, OptionError
from pivotal.formats.embedding_file import read_embedding
from pivotal.formats.state_file import State, read_state
from pivotal.hosts.protocol import Host
from pivotal.jobs.paths import embedding_path, run_paths
from pivotal.prompts.placeholders import find_placeholders, placeholder_problems
from pivotal.prompts.templates import OBJECT, STYLE

ROOM = 64 * 2**20  # bytes that must be free where files go: an embedding, a state and some previews


@dataclass(frozen=True)
class Plan:
    """A run that has been checked."""

    config: TrainConfig
    captions: Captions
    measured: Captions  # what the error before and after is measured on
    state: State | None  # to resume from


def make_plan(flat: Mapping[str, Any], host: Host, *, resume: bool = False) -> Plan:
    """The run that `flat` describes.

    Raises:
        OptionError: with every problem, each under its key.
    """
    config, problems = draft(TrainConfig, flat)
    found = _Problems(problems)
    captions = _captions(config, config.dataset.folder, "dataset.folder", found)
    measured = captions
    if config.measure.folder:
        measured = _captions(config, config.measure.folder, "measure.folder", found)
    _check_embeddings(config, host, captions, found)
    _check_checkpoint(config, host, found)
    _check_folders(config, host, found)
    state = _resumed(config, host, found) if resume else None
    if found.problems:
        raise OptionError(found.problems)
    assert captions is not None and measured is not None  # else there had been a problem
    return Plan(config, captions, measured, state)


class _Problems:
    """Sentences by key; the first of a key counts."""

    def __init__(self, problems: Mapping[str, str]):
        self.problems = dict(problems)

    def add(self, key: str, text: str) -> None:
        self.problems.setdefault(key, text)


def _captions(config: TrainConfig, folder: str, key: str, found: _Problems) -> Captions | None:
    if not folder.strip():
        return None
    try:
        items = read_items(Path(folder).expanduser(), need_captions=_needs_files(config.dataset))
    except DatasetError as error:
        found.add(key, str(error))
        return None
    return captions_of(config, items)


def _needs_files(dataset: Dataset) -> bool:
    return dataset.captions == "files" or any("[filewords]" in line for line in dataset.templates)


def captions_of(config: TrainConfig, items: list[Item]) -> Captions:
    """The captions that `config` makes for `items`."""
    templates = {"files": (), "object": OBJECT, "style": STYLE, "own": config.dataset.templates}[config.dataset.captions]
    name = " ".join(row.placeholder for row in config.embeddings if row.train)
    return Captions(items, templates, name, config.seed)


def _check_checkpoint(config: TrainConfig, host: Host, found: _Problems) -> None:
    names = host.checkpoints()
    if config.checkpoint and config.checkpoint not in names:
        found.add("checkpoint", f"{config.checkpoint!r} is not among the host's checkpoints: "
                                f"{', '.join(sorted(names)[:8]) or 'it has none'}.")
    elif not config.checkpoint and host.checkpoint() is None:
        found.add("checkpoint", "the host has no checkpoint loaded; load one, or name one here.")


def _check_folders(config: TrainConfig, host: Host, found: _Problems) -> None:
    folders = host.folders()
    for folder in (folders.embeddings, run_paths(folders, config.name).folder):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder) as file:
                file.write(b"x")
            free = shutil.disk_usage(folder).free
        except OSError as error:
            found.add("name", f"{folder} cannot be written to: {error.strerror or error}.")
            continue
        if free < ROOM:
            found.add("name", f"{folder} has {free / 2**20:.0f} MB left; make room, {ROOM // 2**20} MB at least.")


def _check_embeddings(config: TrainConfig, host: Host, captions: Captions | None, found: _Problems) -> None:
    try:
        tokenizer = next(iter(host.prompt_context().encoders.values()))
    except HostError as error:
        found.add("checkpoint", str(error))
        return
    names = [row.placeholder for row in config.embeddings]
    used = _used_names(names, captions)
    for index, row in enumerate(config.embeddings):
        key = f"embeddings.{index}"
        others = [name for place, name in enumerate(names) if place != index]
        count = vector_count(tokenizer, row.initial_text, row.token_count)
        for text in placeholder_problems(row.placeholder, vectors=count, tokenizer=tokenizer, others=others):
            found.add(f"{key}.placeholder", text)
        if row.train and captions is not None and row.placeholder not in used:
            found.add(f"{key}.placeholder", f"no caption contains {row.placeholder!r} as a word of its own, so it would "
                                            "never be trained; write it into captions, or take captions from templates.")
        if row.base_embedding:
            _check_base(f"{key}.base_embedding", Path(row.base_embedding).expanduser(), host, found)
        path = embedding_path(host.folders(), row.placeholder)
        if row.train and config.save.existing == "refuse" and path.exists():
            found.add(f"{key}.placeholder", f"{path} exists; choose another word, or let the older file be replaced.")


def _used_names(names: list[str], captions: Captions | None) -> set[str]:
    if captions is None:
        return set(names)
    return {name for text in captions.all_texts() for _, _, name in find_placeholders(text, names)}


def _check_base(key: str, path: Path, host: Host, found: _Problems) -> None:
    if not path.is_file():
        found.add(key, f"{path} does not exist.")
        return
    loaded = host.checkpoint()
    try:
        read_embedding(path, 2 if loaded is not None and loaded.family == "sdxl" else 1)
    except FormatError as error:
        found.add(key, str(error))


def _resumed(config: TrainConfig, host: Host, found: _Problems) -> State | None:
    path = run_paths(host.folders(), config.name).state
    try:
        state = read_state(path)
    except FormatError as error:
        found.add("name", f"{config.name!r} cannot be resumed: {error}")
        return None
    for key, (before, now) in changed_options(state.facts["config"], config).items():
        found.add(key, f"was {before!r} when the run began and is {now!r} now; resume with {before!r}, or start anew "
                       "under another name.")
    return state


# What may differ when a run is resumed, because it decides nothing about the steps that are done.
FREE_TO_CHANGE = ("length.", "samples.", "save.", "measure.", "dataset.folder", "name")


def changed_options(before: Mapping[str, Any], config: TrainConfig) -> dict[str, tuple[Any, Any]]:
    """The options, apart from FREE_TO_CHANGE, that are not as they were: (before, now) by key."""
    now = plain_options(config)
    return {key: (before.get(key), now.get(key)) for key in sorted(set(before) | set(now))
            if before.get(key) != now.get(key) and not key.startswith(FREE_TO_CHANGE)}


def plain_options(config: TrainConfig) -> dict[str, Any]:
    """All options of `config` as JSON gives them back."""
    return {key: list(value) if isinstance(value, tuple) else value for key, value in flatten(config).items()}
