"""A folder of images that the user has opened: what is in it, and every change of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pivotal.tools.dataset.caption_edits import Captions
from pivotal.tools.dataset.former_masks import FormerMasks
from pivotal.tools.dataset.journal import Undone
from pivotal.tools.dataset.listing import Listing
from pivotal.tools.dataset.places import Place
from pivotal.tools.dataset.shown import Counting, Shown


class Opened(Listing):
    """One folder, what is shown of it, its captions and its masks."""

    def __init__(self, place: Place, scratch: Path, count: Counting):
        super().__init__(place)
        self.shown = Shown(self, count)
        self.captions = Captions(self, self.shown, scratch)
        self._masks = FormerMasks(scratch, place)
        self.undoes_masks = self._masks.can_undo()

    @contextmanager
    def masking(self, make: Callable[[str], str]) -> Iterator[Callable[[str], str]]:
        """A function that makes an image's mask with `make`, which says what it wrote, and keeps the former one."""
        self._masks.begin()
        self.undoes_masks = False

        def step(name: str) -> str:
            self._masks.keep(name)
            said = make(name)
            if said:
                self._masks.written(name)
                self.undoes_masks = True
            self.renew([name])
            return said

        yield step

    def undo_masks(self) -> Undone:
        """Takes the last automatic masks back.

        Raises:
            DatasetError: there are none.
        """
        with self.lock:
            undone = self._masks.undo()
            self.undoes_masks = self._masks.can_undo()
            self.refresh()
            return undone
