"""The command line's comparison: ``tool compare RUN``, ``tool compare RUN --keep 000500``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pivotal.cli_tools import add_option, told
from pivotal.config.derived import refuse_flags
from pivotal.config.options import walk
from pivotal.jobs.comparison.settings import Comparison

_OWN = ("run", "let_prompts_through")  # of the options: the one is given without a flag, and nobody prompts here


def add_compare_command(commands: Any, data_dir: Path) -> None:
    """Adds ``compare`` to the tools' commands."""
    text = "Draws a run's saves, or any files, by prompts and strengths into one picture; or keeps one of them."
    sub = commands.add_parser("compare", help=text, description=text, allow_abbrev=False)
    sub.add_argument("run", nargs="?", default="", metavar="RUN", help="Name of the run whose saves are compared.")
    for option in walk(Comparison):
        if option.key not in _OWN:
            add_option(sub, option)
    sub.add_argument("--picture", type=Path, metavar="FILE.png", help="Picture to write. Default: grid.png beside the images.")
    sub.add_argument("--checkpoint", default="", metavar="NAME", help="Checkpoint to draw with. Default: the run's.")
    sub.add_argument("--keep", metavar="SAVE", help="Draws nothing: puts all saves of the run but this one (000500, best, "
                     "result) away, into the run's folder.")
    sub.add_argument("--rename", action=argparse.BooleanOptionalAction, default=True,
                     help="With --keep: gives it the names of the run's result. Default: true.")
    sub.add_argument("--data-dir", type=Path, default=data_dir, help="Holds models, embeddings and runs.")
    sub.set_defaults(command=_compare)


def _compare(known: argparse.Namespace, rest: Sequence[str]) -> int:
    """Exit code 0 when everything is drawn or put away, else 1 with a sentence on stderr."""

    def work() -> int:
        refuse_flags(rest, "tool compare")
        from pivotal.commands import compare

        return compare.keep(known) if known.keep is not None else compare.draw(known)

    return told(work, Comparison, ("run",))
