"""What is in a folder of images: the files, their captions and masks, those that are alike, and those that cannot be read."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from pivotal.data.images import READ_ERRORS
from pivotal.errors import DatasetError
from pivotal.tools.dataset.alike import Look, digest_of, groups_of, look_of, nearly_same, partners
from pivotal.tools.dataset.index import Found, Known, renewed, scan
from pivotal.tools.dataset.places import Place


class Listing:
    """One folder as it was last looked at. Its methods may be called from any thread.

    Attributes:
        lock: held while what is known or on the disk changes.
        version: another number after each such change.
        same: each image whose bytes others have, too, with those.
        near: likewise those that look nearly the same; None when nobody has looked yet.
    """

    def __init__(self, place: Place):
        self.place = place
        self.version = 0
        self.lock = threading.RLock()
        self._known: dict[str, Known] = {}
        self._looks: dict[tuple[str, tuple[int, int]], Look] = {}  # by name and stamp
        self._digests: dict[tuple[str, tuple[int, int]], bytes] = {}  # likewise
        self._damaged: dict[str, str] = {}
        self.same: Mapping[str, tuple[str, ...]] = {}
        self.near: Mapping[str, tuple[str, ...]] | None = None
        self.refresh()

    def refresh(self) -> None:
        """Looks at the disk again.

        Raises:
            DatasetError: the folder cannot be read.
        """
        with self.lock:
            self._known = scan(self.place, self._known)
            self.same = self._found_twice()
            self._damaged = {name: text for name, text in self._damaged.items() if name in self._known}
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
        with self.lock:
            for name in names:
                if name in self._known:
                    self._known[name] = renewed(self.place, self._known[name])
            self.version += 1

    def images(self) -> list[Found]:
        """All images, by name."""
        with self.lock:
            return [known.found for known in self._known.values()]

    def image(self, name: str) -> Found:
        """Raises DatasetError when there is no image of that name."""
        with self.lock:
            if name not in self._known:
                raise DatasetError(f"{name!r} is no image of {self.place.folder}; open the folder again.")
            return self._known[name].found

    def trouble(self, found: Found) -> str:
        """Why an image cannot be read; empty when it can."""
        return found.trouble or self._damaged.get(found.name, "")

    @contextmanager
    def comparing(self) -> Iterator[Callable[[str], str]]:
        """A function that decodes an image by its name, to see whether it is damaged and what it looks like."""
        looks: dict[str, Look] = {}
        damaged: dict[str, str] = {}

        def step(name: str) -> str:
            with self.lock:
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
        with self.lock:
            self.near, self._damaged = near, damaged
            self.version += 1
