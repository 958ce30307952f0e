"""``tool compare``: the same as the page's comparison."""

from __future__ import annotations

import argparse
import io
import signal
import sys

from tqdm import tqdm

from pivotal.config.options import walk
from pivotal.errors import HostError, PivotalError
from pivotal.formats.atomic import write_bytes
from pivotal.hosts.embedded.host import EmbeddedHost
from pivotal.jobs.comparison.comparisons import CompareView, Comparisons
from pivotal.jobs.comparison.picture import picture_of
from pivotal.jobs.comparison.saves import recipe_of
from pivotal.jobs.comparison.settings import Comparison
from pivotal.jobs.desk import Desk

_LOOKS_EVERY = 0.2  # seconds


def keep(known: argparse.Namespace) -> int:
    """Puts all saves of a run but one away; returns the exit code."""
    kept = Desk(EmbeddedHost(known.data_dir)).comparisons.keep(known.run, known.keep, rename=known.rename)
    sys.stderr.writelines(f"{notice}\n" for notice in kept.notices)
    sys.stdout.write(f"{len(kept.moved)} files are put away in {kept.folder}.\n" if kept.moved else "Nothing to put away.\n")
    sys.stdout.writelines(f"{path}\n" for path in kept.files)
    return 0


def draw(known: argparse.Namespace) -> int:
    """Draws a comparison and writes its picture. Exit code 0 when everything is drawn, else 1."""
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
