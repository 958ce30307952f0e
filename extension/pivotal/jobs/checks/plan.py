"""Everything that can be known to be wrong with a run before anything is loaded, all at once."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pivotal.config.build import draft
from pivotal.config.length import with_length
from pivotal.config.rules.network import pivot_problems
from pivotal.config.rules.schedule import schedule_problems
from pivotal.config.train import TrainConfig
from pivotal.data.captions import Captions
from pivotal.data.faces import face_problems
from pivotal.errors import OptionError
from pivotal.events import Planned
from pivotal.formats.network_file import NetworkFile
from pivotal.formats.state_file import State
from pivotal.hosts.protocol import Host
from pivotal.jobs.checks.dataset import dataset_notices, read_captions
from pivotal.jobs.checks.drawing import drawing_problems
from pivotal.jobs.checks.embeddings import check_embeddings
from pivotal.jobs.checks.images import mask_problems
from pivotal.jobs.checks.networks import check_network, continued_file, network_notices
from pivotal.jobs.checks.problems import Problems
from pivotal.jobs.continued import with_bundled
from pivotal.jobs.dataset_plan import order_of, planned, usual_resolution, views_of
from pivotal.jobs.logs.run_logs import log_problems
from pivotal.jobs.paths import run_paths
from pivotal.jobs.resuming import resumed
from pivotal.training.optimizer_check import optimizer_problems

ROOM = 64 * 2**20  # bytes that must be free where files go: an embedding, a state and some previews


@dataclass(frozen=True)
class Plan:
    """A run that has been checked."""

    config: TrainConfig
    captions: Captions  # and images, to train on
    measured: Captions  # what the error is measured on: `captions` itself where no images are held out
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
    captions, measured = read_captions(config, host.folders().scratch, found)
    check_embeddings(config, host, captions, found)
    check_network(config, host, found)
    found.add_all(optimizer_problems(config.optimizer) | log_problems(config.logs) | face_problems(config.augment)
                  | mask_problems(config, captions))
    _check_checkpoint(config, host, found)
    found.add_all(drawing_problems(config.samples, host))
    _check_folders(config, host, found)
    state = resumed(config, host, found) if resume else None
    if found.by_key:
        raise OptionError(found.by_key)
    assert captions is not None and measured is not None  # else there had been a problem
    config = with_length(config, order_of(views_of(captions, config, usual_resolution(config, host)), config).images)
    found.add_all(pivot_problems(config) | schedule_problems(config, config.length.steps))
    if found.by_key:
        raise OptionError(found.by_key)
    return Plan(config, captions, measured, base, state, network_notices(config, base, host) | dataset_notices(config, captions))


def planned_run(plan: Plan, host: Host) -> Planned:
    """What `plan` will see; a checkpoint that is not loaded is taken for one of SD 1."""
    return planned(plan.captions, plan.measured, plan.config, usual_resolution(plan.config, host))


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
