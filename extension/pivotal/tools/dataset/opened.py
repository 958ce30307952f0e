"""A folder of images that the user has opened: what is in it, and every change of it."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pivotal.data.images import READ_ERRORS
from pivotal.errors import DatasetError, OptionError
from pivotal.tools.dataset.alike import Look, digest_of, groups_of, look_of, nearly_same, partners
from pivotal.tools.dataset.caption_files import at_once, read_caption, write_caption
from pivotal.tools.dataset.captioners import Describe, placed
from pivotal.tools.dataset.changes import Change, count_tags, edit_of
from pivotal.tools.dataset.filters import Filter, has_words, is_small, is_uncaptioned
from pivotal.tools.dataset.former_masks import FormerMasks
from pivotal.tools.dataset.index import Found, Known, renewed, scan
from pivotal.tools.dataset.journal import Changed, Journal, Undone
from pivotal.tools.dataset.mask_files import read_image
from pivotal.tools.dataset.places import Place

Counting = Callable[[str], int]  # tokens of a caption
LONGEST_EDITED = 20_000  # letters of a caption that is edited in the page, and whose tokens are counted
_AUTOMATIC = "automatic captions"
_PATIENCE_S = 60.0  # for a change of all captions
_COUNT_S = 0.25  # seconds that one look at the page may spend on counting


@dataclass(frozen=True)
class Preview:
    """What a change of many captions would do."""

    looked_at: int
    changes: tuple[Changed, ...]


class Opened:
    """One folder. Its methods may be called from any thread."""

    def __init__(self, place: Place, scratch: Path, count: Counting):
        self.place = place
        self.version = 0
        self._lock = threading.RLock()
        self._journal = Journal(scratch, place)
        self._masks = FormerMasks(scratch, place)
        self._count = count
        self._known: dict[str, Known] = {}
        self._tokens: dict[str, int] = {}  # by text
        self._looks: dict[tuple[str, tuple[int, int]], Look] = {}  # by name and stamp
        self._digests: dict[tuple[str, tuple[int, int]], bytes] = {}  # likewise
        self._damaged: dict[str, str] = {}
        self.same: Mapping[str, tuple[str, ...]] = {}
        self.near: Mapping[str, tuple[str, ...]] | None = None  # None: nobody has looked yet
        self.undoes = ""
        self.undoes_masks = False
        self.refresh()

    def refresh(self) -> None:
        """Looks at the disk again.

        Raises:
            DatasetError: the folder cannot be read.
        """
        with self._lock:
            self._known = scan(self.place, self._known)
            self.same = self._found_twice()
            self._damaged = {name: text for name, text in self._damaged.items() if name in self._known}
            self.undoes = self._journal.last()
            self.undoes_masks = self._masks.can_undo()
            self.version += 1

    def _found_twice(self) -> Mapping[str, tuple[str, ...]]:
        """Each image whose bytes another one has, too, with those; only files of the same size are read, and only once."""
        names = {name: known.seen.stamp for name, known in self._known.items() if not known.found.trouble}
        digests = {}
        for name in itertools.chain.from_iterable(groups_of({name: stamp[1] for name, stamp in names.items()})):
            key = (name, names[name])
            try:
                digests[name] = self._digests[key] = self._digests.get(key) or digest_of(self.place.image(name))
            except OSError as error:
                raise DatasetError(f"{name} cannot be read: {error.strerror or error}.") from error
        return partners(groups_of(digests))

    def renew(self, names: Sequence[str]) -> None:
        """Looks again at the captions and masks of these images alone."""
        with self._lock:
            for name in names:
                if name in self._known:
                    self._known[name] = renewed(self.place, self._known[name])
            self.version += 1

    def images(self) -> list[Found]:
        """All images, by name."""
        with self._lock:
            return [known.found for known in self._known.values()]

    def image(self, name: str) -> Found:
        """Raises DatasetError when there is no image of that name."""
        with self._lock:
            if name not in self._known:
                raise DatasetError(f"{name!r} is no image of {self.place.folder}; open the folder again.")
            return self._known[name].found

    def trouble(self, found: Found) -> str:
        """Why an image cannot be read; empty when it can."""
        return found.trouble or self._damaged.get(found.name, "")

    # --- what is shown

    def chosen(self, filter: Filter) -> list[Found]:
        """The images that `filter` lets through."""
        tests: dict[str, Callable[[Found], bool]] = {
            "": lambda _: True,
            "uncaptioned": is_uncaptioned,
            "cut": lambda found: self.tokens(found) > filter.tokens,
            "small": lambda found: is_small(found, filter.least),
            "same": lambda found: found.name in self.same,
            "near": lambda found: found.name in (self.near or {}),
            "corrupt": lambda found: bool(self.trouble(found)),
            "unmasked": lambda found: not found.has_mask,
        }
        found = [image for image in self.images() if has_words(image, filter) and tests[filter.kind](image)]
        return self._beside_each_other(found) if filter.kind in ("same", "near") else found

    def _beside_each_other(self, images: list[Found]) -> list[Found]:
        def group(found: Found) -> tuple[str, ...]:
            others = self.same.get(found.name, ()) if found.name in self.same else (self.near or {}).get(found.name, ())
            return tuple(sorted((found.name, *others)))

        return sorted(images, key=lambda found: (group(found), found.name))

    def counts(self, filter: Filter) -> dict[str, int]:
        """How many images each kind of filter lets through; those of captions that are not counted yet are left out."""
        images = self.images()
        return {
            "": len(images), "uncaptioned": sum(map(is_uncaptioned, images)),
            "cut": sum(self._tokens.get(image.caption or "", 0) > filter.tokens for image in images),
            "small": sum(is_small(image, filter.least) for image in images), "same": len(self.same),
            "near": len(self.near or ()), "corrupt": sum(bool(self.trouble(image)) for image in images),
            "unmasked": sum(not image.has_mask for image in images),
        }

    def tokens(self, found: Found) -> int:
        """Tokens of an image's caption; a caption too long to be counted has as many as it has letters."""
        text = found.caption or ""
        if text not in self._tokens:
            self._tokens[text] = len(text) if len(text) > LONGEST_EDITED else self._count(text)
        return self._tokens[text]

    def count_more(self) -> int:
        """Counts tokens for a moment; how many captions are still uncounted."""
        begin, left = time.monotonic(), 0
        for image in self.images():
            if (image.caption or "") in self._tokens:
                continue
            if time.monotonic() - begin > _COUNT_S:
                left += 1
            else:
                self.tokens(image)
        return left

    def tags(self, filter: Filter) -> list[tuple[str, int]]:
        """In how many captions each tag stands."""
        return count_tags(image.caption or "" for image in self.chosen(filter))

    # --- captions

    def save(self, name: str, text: str, old: str | None = None) -> None:
        """Writes one caption.

        Args:
            old: what the caption was when it was shown; None does not ask.

        Raises:
            DatasetError: it was changed by somebody else meanwhile, or cannot be written.
        """
        with self._lock:
            path = self.place.caption(name)
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
        edit, images = edit_of(change), self.chosen(filter)
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
        with self._lock:
            self.refresh()
            made = self.preview(change, filter)
            self._write(made.changes, change.words, self._journal.new_group())
            return made

    def undo(self) -> Undone:
        """Takes the last change of captions back.

        Raises:
            DatasetError: there is none.
        """
        with self._lock:
            undone = self._journal.undo()
            self.refresh()
            return undone

    def _write(self, changes: Sequence[Changed], what: str, group: str) -> None:
        if not changes:
            return
        self._journal.note(group, what, changes)
        troubles = [text for text in at_once(self._trouble_writing, changes) if text]
        self.undoes = what
        self.renew([change.name for change in changes])
        if troubles:
            more = f" And {len(troubles) - 3} more." if len(troubles) > 3 else ""
            raise DatasetError(f"{len(changes) - len(troubles)} of {len(changes)} captions were written. "
                               f"{' '.join(troubles[:3])}{more}")

    def _trouble_writing(self, change: Changed) -> str:
        """Writes one caption; what went wrong."""
        try:
            write_caption(self.place.caption(change.name), change.new)
        except DatasetError as error:
            return str(error)
        return ""

    # --- long work, an image at a time

    @contextmanager
    def describing(self, describe: Describe, where: str) -> Iterator[Callable[[str], str]]:
        """A function that captions an image by its name.

        Args:
            where: as in `captioners.placed`.
        """
        group = self._journal.new_group()

        def step(name: str) -> str:
            path = self.place.caption(name)
            old = read_caption(path)
            if where == "only missing" and (old or "").strip():
                return ""
            new = placed(describe(read_image(self.place.image(name))), old, where)
            if new is None or new == old:
                return ""
            self._journal.note(group, _AUTOMATIC, [Changed(name, old, new)])
            write_caption(path, new)
            self.undoes = _AUTOMATIC
            self.renew([name])
            return new

        yield step

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
        with self._lock:
            undone = self._masks.undo()
            self.refresh()
            return undone

    @contextmanager
    def comparing(self) -> Iterator[Callable[[str], str]]:
        """A function that decodes an image by its name, to see whether it is damaged and what it looks like."""
        looks: dict[str, Look] = {}
        damaged: dict[str, str] = {}

        def step(name: str) -> str:
            with self._lock:
                known = self._known.get(name)
            if known is None or known.found.trouble:
                return ""
            key = (name, known.seen.stamp)
            try:
                looks[name] = self._looks.get(key) or look_of(self.place.image(name))
            except READ_ERRORS as error:
                damaged[name] = " ".join(str(error).split())[:200] or type(error).__name__
                raise DatasetError(damaged[name]) from error
            self._looks[key] = looks[name]
            return ""

        yield step
        near = partners(nearly_same(looks))
        with self._lock:
            self.near, self._damaged = near, damaged
            self.version += 1
