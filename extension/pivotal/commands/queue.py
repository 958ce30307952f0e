"""``queue``: the same file as the page's."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pivotal.config.build import options_of
from pivotal.config.files import beside, read_run_file
from pivotal.config.train import TrainConfig
from pivotal.hosts.embedded.host import EmbeddedHost
from pivotal.jobs.desk import Desk
from pivotal.jobs.queue.entries import OPEN, Entry
from pivotal.jobs.queue.over import subfolders

_SAVING_SECONDS, _LOOKS_EVERY = 60.0, 0.2


def add(known: argparse.Namespace) -> int:
    """Adds a run file, or one recipe for many folders."""
    flat = _absolute(beside(known.run_file, read_run_file(known.run_file)))
    queue = Desk(EmbeddedHost(known.data_dir)).queue
    if known.over is None:
        entries, notices = queue.add([flat])
    else:
        entries, notices = queue.add_over(flat, [folder.resolve() for folder in subfolders(known.over)], name=known.name,
                                          placeholder=known.placeholder)
    sys.stdout.writelines(f"{_line(entry)}\n" for entry in entries)
    sys.stderr.writelines(f"{notice}\n" for notice in notices)
    return 0


def _absolute(flat: Mapping[str, Any]) -> dict[str, Any]:
    """A run's paths, which may be carried out from another folder."""
    options = options_of(TrainConfig, flat)
    paths = {key: Path(str(value)) for key, value in flat.items()
             if value and key in options and options[key].spec.widget == "folder"}
    return {**flat, **{key: str(path.resolve()) for key, path in paths.items() if path.exists()}}


def show(known: argparse.Namespace) -> int:
    """Lists the runs."""
    queue = Desk(EmbeddedHost(known.data_dir)).queue
    entries, _ = queue.store.found(search=known.search, state=known.state, limit=-1)
    for entry in entries:
        told = {"id": entry.id, "name": entry.name, "state": entry.state, "step": entry.step, "of": entry.of,
                "files": [path for path, _ in entry.files], "message": entry.message}
        sys.stdout.write((json.dumps(told) if known.json else _line(entry)) + "\n")
    return 0


def _line(entry: Entry) -> str:
    done = f", step {entry.step} of {entry.of}" if entry.of else ""
    return f"{entry.id}  {entry.state:<11}  {entry.name}{done}{f': {entry.message}' if entry.message else ''}"


def work(known: argparse.Namespace) -> int:
    """Carries out all that waits. Exit code 0, or 1 when a run failed or was interrupted."""
    desk = Desk(EmbeddedHost(known.data_dir))
    queue, asked = desk.queue, threading.Event()
    queue.recover()
    before = {entry.id for entry in queue.store.found(only="history", limit=-1)[0]}
    for wanted in (signal.SIGINT, signal.SIGTERM):
        signal.signal(wanted, lambda *_: _interrupt(asked))
    queue.start()
    while not queue.worker.is_idle(_LOOKS_EVERY):
        if asked.is_set():
            queue.close(_SAVING_SECONDS)
    ended = [entry for entry in queue.store.found(limit=-1)[0] if entry.id not in before and entry.state not in OPEN]
    sys.stdout.writelines(f"{_line(entry)}\n" for entry in reversed(ended))
    return 1 if asked.is_set() or any(entry.state == "failed" for entry in ended) else 0


def _interrupt(asked: threading.Event) -> None:
    """The first Ctrl-C keeps what is learned, the second ends at once."""
    if asked.is_set():
        raise KeyboardInterrupt
    sys.stderr.write("Stopping after this step; once more to leave at once.\n")
    asked.set()
