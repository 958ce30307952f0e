"""Every change of an opened folder's captions: of one, of many, by a network; and its undoing."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pivotal.errors import DatasetError, OptionError
from pivotal.tools.dataset.caption_files import at_once, read_caption, write_caption
from pivotal.tools.dataset.captioners import Describe, placed
from pivotal.tools.dataset.changes import Change, edit_of
from pivotal.tools.dataset.filters import Filter
from pivotal.tools.dataset.journal import Changed, Journal, Undone
from pivotal.tools.dataset.listing import Listing
from pivotal.tools.dataset.mask_files import read_image
from pivotal.tools.dataset.shown import Shown

_AUTOMATIC = "automatic captions"
_PATIENCE_S = 60.0  # for a change of all captions


@dataclass(frozen=True)
class Preview:
    """What a change of many captions would do."""

    looked_at: int
    changes: tuple[Changed, ...]


class Captions:
    """The captions of one folder; what is changed is noted first, so that it can be undone."""

    def __init__(self, listing: Listing, shown: Shown, scratch: Path):
        self._listing, self._shown = listing, shown
        self._journal = Journal(scratch, listing.place)
        self.undoes = self._journal.last()

    def save(self, name: str, text: str, old: str | None = None) -> None:
        """Writes one caption.

        Args:
            old: what the caption was when it was shown; None does not ask.

        Raises:
            DatasetError: it was changed by somebody else meanwhile, or cannot be written.
        """
        with self._listing.lock:
            path = self._listing.place.caption(name)
            now = read_caption(path)
            if old is not None and (now or "") != old:  # what was typed stays in the page until the folder is opened again
                raise DatasetError(f"{path.name} was changed meanwhile by another program, and stays so. Open the folder again.")
            if text != (now or ""):
                self._write([Changed(name, now, text)], f"edit of {name}", self._journal.new_group())

    def preview(self, change: Change, filter: Filter) -> Preview:
        """What `change` would do to the captions of the images that `filter` lets through.

        Raises:
            OptionError: the change cannot be made.
        """
        edit, images = edit_of(change), self._shown.chosen(filter)
        with_caption = [image for image in images if image.caption is not None]
        adds = change.action in ("prefix", "suffix", "add tag")
        looked_at = [image for image in images if not image.caption_trouble] if adds else with_caption
        changes, begin = [], time.monotonic()
        for image in looked_at:
            new = edit(image.caption or "")
            if new != (image.caption or ""):
                changes.append(Changed(image.name, image.caption, new))
            if time.monotonic() - begin > _PATIENCE_S:
                raise OptionError({"find": f"takes more than {_PATIENCE_S:g} s; no caption was changed. Use a simpler "
                                           "expression, or a filter that shows fewer images"})
        return Preview(len(looked_at), tuple(changes))

    def apply(self, change: Change, filter: Filter) -> Preview:
        """Makes the changes of `preview`, together: they are undone together.

        Raises:
            OptionError: the change cannot be made.
            DatasetError: some captions could not be written; the others are.
        """
        with self._listing.lock:
            self._listing.refresh()
            made = self.preview(change, filter)
            self._write(made.changes, change.words, self._journal.new_group())
            return made

    def undo(self) -> Undone:
        """Takes the last change of captions back.

        Raises:
            DatasetError: there is none.
        """
        with self._listing.lock:
            undone = self._journal.undo()
            self.undoes = self._journal.last()
            self._listing.refresh()
            return undone

    def _write(self, changes: Sequence[Changed], what: str, group: str) -> None:
        if not changes:
            return
        self._journal.note(group, what, changes)
        troubles = [text for text in at_once(self._trouble_writing, changes) if text]
        self.undoes = what
        self._listing.renew([change.name for change in changes])
        if troubles:
            more = f" And {len(troubles) - 3} more." if len(troubles) > 3 else ""
            raise DatasetError(f"{len(changes) - len(troubles)} of {len(changes)} captions were written. "
                               f"{' '.join(troubles[:3])}{more}")

    def _trouble_writing(self, change: Changed) -> str:
        """Writes one caption; what went wrong."""
        try:
            write_caption(self._listing.place.caption(change.name), change.new)
        except DatasetError as error:
            return str(error)
        return ""

    @contextmanager
    def describing(self, describe: Describe, where: str) -> Iterator[Callable[[str], str]]:
        """A function that captions an image by its name.

        Args:
            where: as in `captioners.placed`.
        """
        group = self._journal.new_group()

        def step(name: str) -> str:
            path = self._listing.place.caption(name)
            old = read_caption(path)
            if where == "only missing" and (old or "").strip():
                return ""
            new = placed(describe(read_image(self._listing.place.image(name))), old, where)
            if new is None or new == old:
                return ""
            self._journal.note(group, _AUTOMATIC, [Changed(name, old, new)])
            write_caption(path, new)
            self.undoes = _AUTOMATIC
            self._listing.renew([name])
            return new

        yield step
