"""The command line's comparison: ``tool compare RUN``, ``tool compare RUN --keep 000500``; the same as the page's."""

from __future__ import annotations

import argparse
import io
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from pivotal.cli_tools import add_option, flag_of
from pivotal.config.options import walk
from pivotal.errors import HostError, OptionError, PivotalError
from pivotal.formats.atomic import write_bytes
from pivotal.hosts.embedded.host import EmbeddedHost
from pivotal.jobs.comparison.comparisons import CompareView, Comparisons
from pivotal.jobs.comparison.picture import picture_of
from pivotal.jobs.comparison.saves import recipe_of
from pivotal.jobs.comparison.settings import Comparison
from pivotal.jobs.desk import Desk

_LOOKS_EVERY = 0.2  # seconds
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
    try:
        if rest:
            raise OptionError({rest[0]: "is no flag of compare; see tool compare --help"})
        return _keep(known) if known.keep is not None else _draw(known)
    except OptionError as error:
        sys.stderr.writelines(f"{flag_of(Comparison, ('run',), key)}: {text}\n" for key, text in error.problems.items())
    except PivotalError as error:
        sys.stderr.write(f"{error}\n")
    return 1


def _keep(known: argparse.Namespace) -> int:
    kept = Desk(EmbeddedHost(known.data_dir)).comparisons.keep(known.run, known.keep, rename=known.rename)
    sys.stderr.writelines(f"{notice}\n" for notice in kept.notices)
    sys.stdout.write(f"{len(kept.moved)} files are put away in {kept.folder}.\n" if kept.moved else "Nothing to put away.\n")
    sys.stdout.writelines(f"{path}\n" for path in kept.files)
    return 0


def _draw(known: argparse.Namespace) -> int:
    host = EmbeddedHost(known.data_dir)
    wanted = known.checkpoint or (recipe_of(host.folders(), known.run).checkpoint if known.run else "")
    if wanted:
        if wanted not in host.checkpoints():
            known_names = ", ".join(host.checkpoints()) or "none"
            raise HostError(f"There is no checkpoint {wanted!r}; there are {known_names}. Choose one: --checkpoint.")
        host.select(wanted)
    comparisons = Desk(host).comparisons
    keys = {option.key for option in walk(Comparison)}
    comparisons.start({key: value for key, value in vars(known).items() if key in keys})
    signal.signal(signal.SIGINT, lambda *_: comparisons.stop())
    view = _watched(comparisons)
    sys.stderr.writelines(f"{line}\n" for line in (*view.notices, view.message) if line)
    if view.folder is None:
        return 1
    path = known.picture or view.folder / "grid.png"
    made = io.BytesIO()
    picture_of(view).save(made, "PNG")
    try:
        write_bytes(path, made.getvalue())
    except OSError as error:
        raise PivotalError(f"{path} could not be written: {error.strerror or error}. The images are in {view.folder}.") from error
    sys.stdout.write(f"{view.done} of {view.of} images, in {view.folder}\n{path}\n")
    return 0 if view.state == "finished" else 1


def _watched(comparisons: Comparisons) -> CompareView:
    view = comparisons.view()
    with tqdm(total=view.of, unit="image", file=sys.stderr, disable=not sys.stderr.isatty()) as bar:
        while (view := comparisons.wait(_LOOKS_EVERY)).is_going_on:
            bar.update(view.done - bar.n)
        bar.update(view.done - bar.n)
    return view
