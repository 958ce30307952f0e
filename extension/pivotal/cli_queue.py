"""The command line's queue: ``queue add RUN.yaml``, ``queue list``, ``queue work``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pivotal.config.derived import refuse_flags
from pivotal.jobs.queue.entries import STATES


def add_queue_commands(subparsers: Any, data_dir: Path) -> None:
    """Adds ``queue`` with its commands to what ``ArgumentParser.add_subparsers()`` returned."""
    text = "Runs that wait for their turn: those of the page's queue."
    commands = subparsers.add_parser("queue", help=text, description=text).add_subparsers(required=True, metavar="COMMAND")
    add = _command(commands, "add", "Adds a run file, or one recipe for many folders.", data_dir)
    add.add_argument("run_file", type=Path, metavar="RUN.yaml")
    add.add_argument("--over", metavar="FOLDER", help="Adds a run for each subfolder, which is its dataset.")
    add.add_argument("--name", default="{folder}", metavar="PATTERN", help="With --over: each run's name. Default: {folder}.")
    add.add_argument("--placeholder", default="{folder}", metavar="PATTERN",
                     help="With --over: each embedding's placeholder. Default: {folder}.")
    shown = _command(commands, "list", "Lists the runs: the running one, those that wait, those that are over.", data_dir)
    shown.add_argument("--search", default="", metavar="WORDS", help="Only runs that have these in their names or folders.")
    shown.add_argument("--state", choices=STATES, help="Only runs in this state.")
    shown.add_argument("--json", action="store_true", help="Prints one JSON object for each run.")
    _command(commands, "work", "Carries out all that waits, one run after the other. Ctrl-C keeps what is learned.", data_dir)


def _command(commands: Any, name: str, text: str, data_dir: Path) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=text, description=text, allow_abbrev=False)
    parser.add_argument("--data-dir", type=Path, default=data_dir, help="Holds models, embeddings and the queue.")
    parser.set_defaults(command=_queue, does=name)
    return parser


def _queue(known: argparse.Namespace, rest: Sequence[str]) -> int:
    refuse_flags(rest, f"queue {known.does}")
    from pivotal.commands import queue

    return {"add": queue.add, "list": queue.show, "work": queue.work}[known.does](known)
