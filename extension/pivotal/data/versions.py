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
from pivotal.data.mask_area import Box, cut_to
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
    cut_to_masks: bool = False  # whether images are cut around what their masks show
    round_parts: bool = False  # whether the loss gets a round part of a mask each time
    by_concept: tuple[Augment, ...] = ()  # by the items' `concept`, in place of `augment`

    def augment_of(self, item: Item) -> Augment:
        """How an image is changed."""
        return self.by_concept[item.concept] if self.by_concept else self.augment


def _versions(augment: Augment) -> int:
    """Of each image, mirrored ones not counted, where they are cached."""
    return augment.versions if augment.is_random else 1


def cached_bytes(views: Sequence[View], settings: StoreSettings) -> int:
    """How much memory or disk all versions of `views` take, at most: fp32 means and, where they are needed, deviations."""
    augments = settings.by_concept or (settings.augment,)
    copies = max(_versions(augment) * (2 if 0 < augment.flip < 1 else 1) for augment in augments)
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
        self.boxes: Mapping[int, Box] = {}  # by item, where images are cut to their masks
        self.change = lru_cache(maxsize=100_000)(self._drawn)

    def keys(self) -> Iterator[Key]:
        """All that can be cached: each view's versions, mirrored and not where both may come."""
        for view in range(len(self.views)):
            augment = self._augment(view)
            flips = [False] if not augment.flip else [True] if augment.flip == 1 else [False, True]
            for version in range(_versions(augment)):
                yield from (Key(view, version, flip) for flip in flips)

    def key(self, view: int, time: int) -> Key:
        """What is seen of `view` at `time`: cached versions come in turn; without a cache each time is another one."""
        settings, augment = self.settings, self._augment(view)
        is_new = settings.cache.latents == "off" and augment.is_random
        dice = random.Random(f"{settings.seed}/flip/{self._name(view)}/{time}")
        return Key(view, time if is_new else time % _versions(augment), dice.random() < augment.flip)

    def item(self, key: Key) -> Item:
        return self.items[self.views[key.view].item]

    def mask(self, key: Key) -> Path | Literal["alpha"] | None:
        """Where the mask comes from; None where there is none."""
        return self._masks[self.views[key.view].item]

    def masked(self) -> dict[int, tuple[Item, Path | Literal["alpha"]]]:
        """The items that have masks, and where these come from."""
        return {index: (self.items[index], mask) for index, mask in enumerate(self._masks) if mask is not None}

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
        seed = f"{self.settings.seed}/change/{self._name(key.view)}/{self.views[key.view].fit.size}/{key.version}"
        view = self.views[key.view]
        change = draw_change(self._augment(key.view), random.Random(seed), flip=key.flip, focus=self.faces.get(view.item))
        return cut_to(self.boxes[view.item], view.fit, change) if view.item in self.boxes else change

    def _augment(self, view: int) -> Augment:
        return self.settings.augment_of(self.items[self.views[view].item])

    def _name(self, view: int) -> str:
        """By which numbers are drawn: the file's name, so that one image more or less changes nothing for the others."""
        return self.items[self.views[view].item].path.name
