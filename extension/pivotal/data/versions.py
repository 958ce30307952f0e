"""Which version of an image is seen each time, and what it is made of; pure, but for reading the file."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal, NamedTuple

from pivotal.config.sections.augment import Augment
from pivotal.config.sections.cache import Cache
from pivotal.data.augment import Change, changed_fit, draw_change, mirrored_left
from pivotal.data.buckets import LATENT
from pivotal.data.folder import Item
from pivotal.data.images import Picture, read_picture
from pivotal.data.inpainting import mask_file
from pivotal.data.view import View


class Key(NamedTuple):
    """One version of one view of an image."""

    view: int
    version: int
    flip: bool


@dataclass(frozen=True)
class StoreSettings:
    """How images become latents.

    Args:
        masks: where their masks come from.
    """

    seed: int
    cache: Cache = Cache()
    augment: Augment = Augment()
    masks: Literal["off", "files", "alpha"] = "off"

    @property
    def versions(self) -> int:
        """Of each image, mirrored ones not counted, where they are cached."""
        return self.augment.versions if self.augment.is_random else 1


def cached_bytes(views: Sequence[View], settings: StoreSettings) -> int:
    """How much memory or disk all versions of `views` take, at most: fp32 means and, where they are needed, deviations."""
    copies = settings.versions * (2 if 0 < settings.augment.flip < 1 else 1)
    kept = 2 if settings.cache.sampling == "anew" or settings.cache.latents == "disk" else 1
    return sum(view.fit.size[0] * view.fit.size[1] for view in views) // LATENT**2 * 4 * 4 * kept * copies


class Versions:
    """Versions of views. A view is asked for with a time, how often it was seen before.

    Args:
        reads_masks: whether mask files are read also where the loss has no masks.
    """

    def __init__(self, items: Sequence[Item], views: Sequence[View], settings: StoreSettings, *, reads_masks: bool):
        self.items, self.views, self.settings = items, views, settings
        reads_masks = reads_masks or settings.masks == "files"
        self._masks: list[Path | Literal["alpha"] | None] = [
            "alpha" if settings.masks == "alpha" else mask_file(item) if reads_masks else None for item in items]
        self.faces: Mapping[int, tuple[float, float]] = {}  # by item, where they are looked for
        self.change = lru_cache(maxsize=100_000)(self._drawn)

    def keys(self) -> Iterator[Key]:
        """All that can be cached: each view's versions, mirrored and not where both may come."""
        often = self.settings.augment.flip
        for view in range(len(self.views)):
            plain = self._is_plain(view)
            flips = [False] if plain or not often else [True] if often == 1 else [False, True]
            for version in range(1 if plain else self.settings.versions):
                yield from (Key(view, version, flip) for flip in flips)

    def key(self, view: int, time: int) -> Key:
        """What is seen of `view` at `time`: cached versions come in turn; without a cache each time is another one."""
        settings = self.settings
        if self._is_plain(view):
            return Key(view, 0, False)
        is_new = settings.cache.latents == "off" and settings.augment.is_random
        dice = random.Random(f"{settings.seed}/flip/{self._name(view)}/{time}")
        return Key(view, time if is_new else time % settings.versions, dice.random() < settings.augment.flip)

    def item(self, key: Key) -> Item:
        return self.items[self.views[key.view].item]

    def mask(self, key: Key) -> Path | Literal["alpha"] | None:
        """Where the mask comes from; None where there is none."""
        return self._masks[self.views[key.view].item]

    def picture(self, key: Key) -> Picture:
        """The pixels, read from the file.

        Raises:
            DatasetError: it cannot be read.
        """
        return read_picture(self.item(key).path, self.views[key.view].fit, self.change(key), self.mask(key))

    def size_ids(self, key: Key) -> tuple[int, ...]:
        """px: original height, width, crop top, left, target height, width, as they truly are; of a mirrored image the
        crop's left edge is that in the mirrored image."""
        change = self.change(key)
        fit = changed_fit(self.views[key.view].fit, change)
        left = mirrored_left(fit) if change.flip else fit.offset[1]
        # A turned rectangle may begin outside of the image in one direction; SDXL knows no such crop.
        return (*fit.original, max(0, fit.offset[0]), max(0, left), *fit.size)

    def _drawn(self, key: Key) -> Change:
        if self._is_plain(key.view):
            return Change()
        seed = f"{self.settings.seed}/change/{self._name(key.view)}/{self.views[key.view].fit.size}/{key.version}"
        return draw_change(self.settings.augment, random.Random(seed), flip=key.flip,
                           focus=self.faces.get(self.views[key.view].item))

    def _is_plain(self, view: int) -> bool:
        return not self.items[self.views[view].item].augmented

    def _name(self, view: int) -> str:
        """By which numbers are drawn: the file's name, so that one image more or less changes nothing for the others."""
        return self.items[self.views[view].item].path.name
