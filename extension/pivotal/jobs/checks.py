"""Everything that can be known to be wrong with a run before anything is loaded, all at once."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pivotal.config.build import draft
from pivotal.config.sections.dataset import Dataset
from pivotal.config.train import TrainConfig
from pivotal.data.captions import Captions
from pivotal.data.folder import Item, read_items
from pivotal.errors import DatasetError, OptionError
from pivotal.formats.network_file import NetworkFile
from pivotal.formats.state_file import State
from pivotal.hosts.protocol import Host
from pivotal.jobs.continued import with_bundled
from pivotal.jobs.embedding_checks import check_embeddings
from pivotal.jobs.network_checks import check_network, continued_file, network_notices
from pivotal.jobs.paths import run_paths
from pivotal.jobs.problems import Problems
from pivotal.jobs.resuming import resumed
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
    found = Problems(problems)
    base = continued_file(config, host, found)
    config = with_bundled(config, base)
    captions = _captions(config, config.dataset.folder, "dataset.folder", found)
    measured = captions
    if config.measure.folder:
        measured = _captions(config, config.measure.folder, "measure.folder", found)
    check_embeddings(config, host, captions, found)
    check_network(config, host, found)
    _check_checkpoint(config, host, found)
    _check_folders(config, host, found)
    state = resumed(config, host, found) if resume else None
    if found.by_key:
        raise OptionError(found.by_key)
    assert captions is not None and measured is not None  # else there had been a problem
    return Plan(config, captions, measured, base, state, network_notices(config, base))


def _captions(config: TrainConfig, folder: str, key: str, found: Problems) -> Captions | None:
    if not folder.strip():
        return None
    try:
        items = read_items(Path(folder).expanduser(), need_captions=_needs_captions(config.dataset),
                           subfolders=config.dataset.subfolders, extension=config.dataset.caption_extension.strip(),
                           from_names=config.dataset.captions == "file names")
    except DatasetError as error:
        found.add(key, str(error))
        return None
    return captions_of(config, items)


def _needs_captions(dataset: Dataset) -> bool:
    return dataset.captions in ("files", "file names") or any("[filewords]" in line for line in dataset.templates)


def captions_of(config: TrainConfig, items: list[Item]) -> Captions:
    """The captions that `config` makes for `items`."""
    templates = {"object": OBJECT, "style": STYLE, "own": config.dataset.templates}.get(config.dataset.captions, ())
    name = " ".join(row.placeholder for row in config.embeddings if row.train)
    return Captions(items, templates, name, config.seed, config.caption)


def _check_checkpoint(config: TrainConfig, host: Host, found: Problems) -> None:
    names = host.checkpoints()
    if config.checkpoint and config.checkpoint not in names:
        found.add("checkpoint", f"{config.checkpoint!r} is not among the host's checkpoints: "
                                f"{', '.join(sorted(names)[:8]) or 'it has none'}.")
    elif not config.checkpoint and host.checkpoint() is None:
        found.add("checkpoint", "the host has no checkpoint loaded; load one, or name one here.")


def _check_folders(config: TrainConfig, host: Host, found: Problems) -> None:
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
