"""The dataset's tools as commands: over a whole folder at once, without a page."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from tqdm import tqdm

from pivotal.errors import DatasetError
from pivotal.tools.dataset.captioners import captioner
from pivotal.tools.dataset.changes import Change
from pivotal.tools.dataset.filters import Filter
from pivotal.tools.dataset.mask_making import mask_maker
from pivotal.tools.dataset.opened import Opened
from pivotal.tools.dataset.places import open_place
from pivotal.tools.dataset.prepare import preparer, target_folder
from pivotal.tools.dataset.settings import CaptionImages, EditCaptions, MaskImages, PrepareImages
from pivotal.tools.dataset.work import Step
from pivotal.tools.results import Report, path_of

_SHOWN = 3


def edit_captions(settings: EditCaptions) -> Report:
    """Changes many captions at once, or tells what would change.

    Raises:
        OptionError: something is missing, or the regular expression is none.
        DatasetError: the folder or a caption cannot be read or written.
    """
    with tempfile.TemporaryDirectory() as scratch:
        opened = _opened(settings.folder, settings.subfolders, settings.ending, Path(scratch))
        change = Change(settings.action, settings.find, settings.text, settings.is_regular, settings.any_case)
        made = opened.captions.preview(change, Filter()) if settings.preview else opened.captions.apply(change, Filter())
    examples = " ".join(f"{one.name}: {(one.old or '')[:80]!r} -> {(one.new or '')[:80]!r}." for one in made.changes[:_SHOWN])
    verb = "would change" if settings.preview else "changed"
    return Report((), f"{len(made.changes)} of {made.looked_at} captions {verb}. {examples}".strip())


def caption_images(settings: CaptionImages) -> Report:
    """Writes captions by a network.

    Raises:
        OptionError: a package is missing.
        DatasetError: the network or an image cannot be had.
    """
    with tempfile.TemporaryDirectory() as scratch:
        opened = _opened(settings.folder, settings.subfolders, settings.ending, Path(scratch))
        with captioner(settings, {}, settings.captioner) as describe:
            return _done("captions", opened, lambda: opened.captions.describing(describe, settings.place))


def mask_images(settings: MaskImages) -> Report:
    """Writes masks.

    Raises:
        OptionError: a setting is bad, a package is missing.
        DatasetError: the network or an image cannot be had.
    """
    with tempfile.TemporaryDirectory() as scratch:
        opened = _opened(settings.folder, settings.subfolders, "", Path(scratch))
        return _done("masks", opened, lambda: mask_maker(settings, opened.place))


def prepare_images(settings: PrepareImages) -> Report:
    """Writes cut copies into another folder.

    Raises:
        OptionError: the folder is that of the images.
        DatasetError: an image cannot be read.
    """
    with tempfile.TemporaryDirectory() as scratch:
        opened = _opened(settings.folder, settings.subfolders, settings.ending, Path(scratch))
        report = _done("images cut", opened, lambda: preparer(settings, opened.place))
    return Report((target_folder(settings, opened.place),), report.text)


def _opened(folder: str, subfolders: bool, ending: str, scratch: Path) -> Opened:
    """The folder; a command's changes are not undone, so its journal goes with `scratch`."""
    where = path_of("folder", folder)
    return Opened(open_place(str(where), subfolders=subfolders, ending=ending), scratch, len)


def _done(what: str, opened: Opened, ready: Callable[[], AbstractContextManager[Step]]) -> Report:
    """Does all images; one that cannot be done does not end the others, but is told.

    Raises:
        DatasetError: none could be done.
    """
    names: Sequence[str] = [image.name for image in opened.images()]
    if not names:
        raise DatasetError(f"{opened.place.folder}: no images.")
    written, troubles = 0, []
    with ready() as step:
        for name in tqdm(names, disable=not sys.stderr.isatty()):
            try:
                written += bool(step(name))
            except DatasetError as error:
                troubles.append(f"{name}: {error}")
    if troubles and not written:
        raise DatasetError(" ".join(troubles[:_SHOWN]))
    more = f" {len(troubles)} could not be done. {' '.join(troubles[:_SHOWN])}" if troubles else ""
    return Report((), f"{len(names)} images, {what} for {written} written.{more}")
