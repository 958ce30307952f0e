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
from pivotal.config.rules import notices_between
from pivotal.config.sections.dataset import Dataset
from pivotal.config.sections.embedding import Embedding
from pivotal.config.sections.network import Network
from pivotal.config.train import TrainConfig
from pivotal.data.captions import Captions
from pivotal.data.folder import Item, read_items
from pivotal.embeddings.initialize import vector_count
from pivotal.errors import DatasetError, FormatError, HostError, OptionError
from pivotal.formats.network_file import NetworkFile
from pivotal.formats.state_file import State, read_state
from pivotal.hosts.protocol import Host
from pivotal.jobs.continued import KEY, base_vectors, read_base, with_bundled
from pivotal.jobs.paths import embedding_path, network_path, run_paths
from pivotal.networks.choose import block_problems
from pivotal.networks.methods import rank_problem, supports
from pivotal.networks.settings import LayerSettings
from pivotal.prompts.placeholders import find_placeholders, placeholder_problems
from pivotal.prompts.templates import OBJECT, STYLE

ROOM = 64 * 2**20  # bytes that must be free where files go: an embedding, a state and some previews


@dataclass(frozen=True)
class Plan:
    """A run that has been checked."""

    config: TrainConfig
    captions: Captions
    measured: Captions  # what the error before and after is measured on
    base: NetworkFile | None  # the network file that is continued
    state: State | None  # to resume from
    notices: Mapping[str, str]  # what is allowed and perhaps not meant, by key


def make_plan(flat: Mapping[str, Any], host: Host, *, resume: bool = False) -> Plan:
    """The run that `flat` describes.

    Raises:
        OptionError: with every problem, each under its key.
    """
    config, problems = draft(TrainConfig, flat)
    found = _Problems(problems)
    base = _base(config, host, found)
    config = with_bundled(config, base)
    captions = _captions(config, config.dataset.folder, "dataset.folder", found)
    measured = captions
    if config.measure.folder:
        measured = _captions(config, config.measure.folder, "measure.folder", found)
    _check_embeddings(config, host, captions, found)
    _check_network(config, host, found)
    _check_checkpoint(config, host, found)
    _check_folders(config, host, found)
    state = _resumed(config, host, found) if resume else None
    if found.problems:
        raise OptionError(found.problems)
    assert captions is not None and measured is not None  # else there had been a problem
    notices = notices_between(config) | _unread_notices(config) | _file_notices(base)
    return Plan(config, captions, measured, base, state, notices)


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


def _family(config: TrainConfig, host: Host) -> str | None:
    """Of the checkpoint that will be trained on; None where it is not known before it is loaded."""
    loaded = host.checkpoint()
    return loaded.family if loaded is not None and config.checkpoint in ("", loaded.name) else None


def _base(config: TrainConfig, host: Host, found: _Problems) -> NetworkFile | None:
    try:
        return read_base(config, _family(config, host))
    except OptionError as error:
        for key, text in error.problems.items():
            found.add(key, text)
    return None


def _file_notices(base: NetworkFile | None) -> dict[str, str]:
    if base is None or not base.others:
        return {}
    return {KEY: f"{len(base.others)} tensors of the continued file are unknown and will not be in the new one "
                 f"({', '.join(base.others[:3])})."}


def _settings(config: TrainConfig) -> LayerSettings:
    return LayerSettings(config.network.rank, config.network.alpha, unit=config.network.unit)


# What some methods have no place for; one that is set all the same is told of, not ignored in silence.
_SOME_METHODS = ("rank_stabilized", "dropout", "rank_dropout", "factor", "constraint", "norm_limit", "plus_ratio")


def _unread_notices(config: TrainConfig) -> dict[str, str]:
    """Options that are not at their default and that the network's method does not read."""
    if config.network.method == "none":
        return {}
    return {f"network.{name}": f"{config.network.method} has no {name.replace('_', ' ')}; the option does nothing."
            for name in _SOME_METHODS if getattr(config.network, name) != getattr(Network(), name)
            and not supports(config.network.method, name)}


def _check_network(config: TrainConfig, host: Host, found: _Problems) -> None:
    if config.network.method == "none":
        return
    problem = rank_problem(config.network.method, _settings(config))
    if problem and not config.network.rank_from_file:
        found.add("network.rank", problem)
    loaded, family = host.checkpoint(), _family(config, host)
    if config.targets.text_encoder_2 and family not in (None, "sdxl"):
        found.add("targets.text_encoder_2", f"{loaded.name} has one text encoder; only SDXL has a second.")
    if family is not None and loaded.blocks:
        for key, text in block_problems(config.blocks, loaded.blocks).items():
            found.add(key, text)
    path = network_path(host.folders(), config.name)
    if config.save.existing == "refuse" and path.exists():
        found.add("name", f"{path} exists; choose another name, or let the older file be replaced.")


def _check_checkpoint(config: TrainConfig, host: Host, found: _Problems) -> None:
    names = host.checkpoints()
    if config.checkpoint and config.checkpoint not in names:
        found.add("checkpoint", f"{config.checkpoint!r} is not among the host's checkpoints: "
                                f"{', '.join(sorted(names)[:8]) or 'it has none'}.")
    elif not config.checkpoint and host.checkpoint() is None:
        found.add("checkpoint", "the host has no checkpoint loaded; load one, or name one here.")


def _check_folders(config: TrainConfig, host: Host, found: _Problems) -> None:
    folders = host.folders()
    for folder in (folders.embeddings, folders.loras, run_paths(folders, config.name).folder):
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
            _check_base(f"{key}.base_embedding", row, _family(config, host), found)
        path = embedding_path(host.folders().embeddings, row.placeholder)
        if row.train and config.save.existing == "refuse" and path.exists():
            found.add(f"{key}.placeholder", f"{path} exists; choose another word, or let the older file be replaced.")


def _used_names(names: list[str], captions: Captions | None) -> set[str]:
    if captions is None:
        return set(names)
    return {name for text in captions.all_texts() for _, _, name in find_placeholders(text, names)}


def _check_base(key: str, row: Embedding, family: str | None, found: _Problems) -> None:
    path = Path(row.base_embedding).expanduser()
    if not path.is_file():
        found.add(key, f"{path} does not exist.")
        return
    if family is None:
        return  # seen when the checkpoint is loaded
    try:
        vectors = base_vectors(row, 2 if family == "sdxl" else 1)
    except FormatError as error:
        found.add(key, str(error))
        return
    if row.token_count is not None and row.token_count != len(vectors[0]):
        found.add(key.replace("base_embedding", "token_count"), f"{path.name} has {len(vectors[0])} vectors, not "
                                                                f"{row.token_count}; leave the token count empty.")


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
FREE_TO_CHANGE = ("length.", "samples.", "save.", "sharing.", "measure.", "dataset.folder", "name")


def changed_options(before: Mapping[str, Any], config: TrainConfig) -> dict[str, tuple[Any, Any]]:
    """The options, apart from FREE_TO_CHANGE, that are not as they were: (before, now) by key."""
    now = plain_options(config)
    return {key: (before.get(key), now.get(key)) for key in sorted(set(before) | set(now))
            if before.get(key) != now.get(key) and not key.startswith(FREE_TO_CHANGE)}


def plain_options(config: TrainConfig) -> dict[str, Any]:
    """All options of `config` as JSON gives them back."""
    return {key: list(value) if isinstance(value, tuple) else value for key, value in flatten(config).items()}
