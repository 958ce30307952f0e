"""Which images of an opened folder a filter lets through, and what their captions hold."""

from __future__ import annotations

import time
from collections.abc import Callable

from pivotal.tools.dataset.changes import count_tags
from pivotal.tools.dataset.filters import Filter, has_words, is_small, is_uncaptioned
from pivotal.tools.dataset.index import Found
from pivotal.tools.dataset.listing import Listing

Counting = Callable[[str], int]  # tokens of a caption
LONGEST_EDITED = 20_000  # letters of a caption that is edited in the page, and whose tokens are counted
_COUNT_S = 0.25  # seconds that one look at the page may spend on counting


class Shown:
    """The filters and counts of one folder."""

    def __init__(self, listing: Listing, count: Counting):
        self._listing = listing
        self._count = count
        self._tokens: dict[str, int] = {}  # by text

    def chosen(self, filter: Filter) -> list[Found]:
        """The images that `filter` lets through."""
        tests: dict[str, Callable[[Found], bool]] = {
            "": lambda _: True,
            "uncaptioned": is_uncaptioned,
            "cut": lambda found: self.tokens(found) > filter.tokens,
            "small": lambda found: is_small(found, filter.least),
            "same": lambda found: found.name in self._listing.same,
            "near": lambda found: found.name in (self._listing.near or {}),
            "corrupt": lambda found: bool(self._listing.trouble(found)),
            "unmasked": lambda found: not found.has_mask,
        }
        found = [image for image in self._listing.images() if has_words(image, filter) and tests[filter.kind](image)]
        return self._beside_each_other(found) if filter.kind in ("same", "near") else found

    def _beside_each_other(self, images: list[Found]) -> list[Found]:
        def group(found: Found) -> tuple[str, ...]:
            others = self._listing.same.get(found.name) or (self._listing.near or {}).get(found.name, ())
            return tuple(sorted((found.name, *others)))

        return sorted(images, key=lambda found: (group(found), found.name))

    def counts(self, filter: Filter) -> dict[str, int]:
        """How many images each kind of filter lets through; those of captions that are not counted yet are left out."""
        images = self._listing.images()
        return {
            "": len(images), "uncaptioned": sum(map(is_uncaptioned, images)),
            "cut": sum(self._tokens.get(image.caption or "", 0) > filter.tokens for image in images),
            "small": sum(is_small(image, filter.least) for image in images), "same": len(self._listing.same),
            "near": len(self._listing.near or ()), "corrupt": sum(bool(self._listing.trouble(image)) for image in images),
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
        for image in self._listing.images():
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
