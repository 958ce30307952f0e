"""One run of the queue: what it shall do, and what became of it."""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Literal, get_args

from pivotal.config.build import draft
from pivotal.config.train import TrainConfig
from pivotal.jobs.paths import RunPaths

State = Literal["waiting", "running", "paused", "interrupted", "finished", "stopped", "failed"]
STATES: tuple[State, ...] = get_args(State)
OPEN: tuple[State, ...] = ("waiting", "running", "paused")  # the others are the history
_ID = re.compile(r"[0-9a-f]{12}")


@dataclass(frozen=True)
class Entry:
    """A row of the queue's file; frozen, so any thread may read it."""

    id: str
    name: str
    options: Mapping[str, Any]  # as they were given, by dotted key
    state: State = "waiting"
    resume: bool = False  # whether it goes on from the state of the run of its name
    created: str = ""  # ISO 8601, UTC; shown, and never what the order is by: clocks go backwards
    started: str = ""
    ended: str = ""
    run: str = ""  # the desk's id of it
    folder: str = ""  # the run's own, with its samples, state and journal
    step: int = 0
    of: int = 0
    loss: float | None = None  # smoothed
    message: str = ""
    problems: Mapping[str, str] = field(default_factory=dict)
    files: tuple[tuple[str, int], ...] = ()  # path, bytes
    log: tuple[str, ...] = ()
    journal_from: int = 0  # bytes of the journal that are older than the entry
    journal_to: int | None = None  # None while it may still grow

    @property
    def journal(self) -> Path:
        """Its events, one JSON object a line, among those of other runs of its name."""
        return RunPaths(Path(self.folder)).journal


def new_id() -> str:
    """Twelve hexadecimal digits."""
    return uuid.uuid4().hex[:12]


def is_id(text: str) -> bool:
    """Whether `text` may be an entry's id."""
    return bool(_ID.fullmatch(text))


def now() -> str:
    """The time to write down."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def name_of(options: Mapping[str, Any]) -> str:
    """What a run of these options is called."""
    return draft(TrainConfig, {key: value for key, value in options.items() if key == "name"})[0].name


def words_of(name: str, options: Mapping[str, Any]) -> str:
    """What a search looks through: the name, the placeholders, the dataset's folder and the checkpoint, in one case."""
    told = [str(value) for key, value in options.items()
            if key in ("dataset.folder", "checkpoint") or key.endswith(".placeholder")]
    return "\n".join([name, *told]).casefold()


def placeholders_of(options: Mapping[str, Any]) -> list[str]:
    """The words of the embeddings that are trained."""
    found = []
    for key, value in options.items():
        row, _, last = key.rpartition(".")
        if row.startswith("embeddings.") and last == "placeholder" and options.get(f"{row}.train", True) not in (False, "false"):
            found.append(str(value))
    return found
