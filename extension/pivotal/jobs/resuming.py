"""Whether a run that was left may go on."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pivotal.config.build import options_of
from pivotal.config.options import flatten
from pivotal.config.train import TrainConfig
from pivotal.errors import FormatError
from pivotal.formats.state_file import State, read_state
from pivotal.hosts.protocol import Host
from pivotal.jobs.checks.problems import Problems
from pivotal.jobs.paths import run_paths

_MOVED = re.compile(r"concepts\.\d+\.(?:folder|name)")  # as the dataset's folder
# What may differ when a run is resumed, because it decides nothing about the steps that are done.
FREE_TO_CHANGE = ("length.", "samples.", "save.", "sharing.", "measure.", "logs.", "dataset.folder", "name", "cache.keep_",
                  "guard.", "performance.", "precision.gradient_checkpointing")


def resumed(config: TrainConfig, host: Host, found: Problems) -> State | None:
    """The state of the run of this name; None when there is none that `config` may go on from."""
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


def changed_options(before: Mapping[str, Any], config: TrainConfig) -> dict[str, tuple[Any, Any]]:
    """The options, apart from FREE_TO_CHANGE, that are not as they were: (before, now) by key.

    An option that an older version of ours did not know was at its default.
    """
    now = plain_options(config)
    # Of `before`, not of `now`: a row that is new is a change, whatever stands in it.
    before = {key: _plain(option.default) for key, option in options_of(TrainConfig, before).items()} | dict(before)
    return {key: (before.get(key), now.get(key)) for key in sorted(set(before) | set(now))
            if before.get(key) != now.get(key) and not key.startswith(FREE_TO_CHANGE) and not _MOVED.fullmatch(key)}


def plain_options(config: TrainConfig) -> dict[str, Any]:
    """All options of `config` as JSON gives them back."""
    return {key: _plain(value) for key, value in flatten(config).items()}


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
