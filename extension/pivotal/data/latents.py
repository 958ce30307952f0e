"""The latents of a dataset's images, whether they are cached or encoded when they are needed."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from pivotal.data.buckets import LATENT
from pivotal.data.encoding import Encoded, Encoder, encode, latent_mask, settled
from pivotal.data.images import Picture
from pivotal.data.inpainting import inpainting_masks
from pivotal.data.latent_cache import Nowhere, Shelf
from pivotal.data.mask_area import round_part
from pivotal.data.prefetch import read_ahead
from pivotal.data.versions import Key, Versions
from pivotal.data.view import Size, View


@dataclass(frozen=True)
class Row:
    """One image of a batch: encoded, or the pixels to encode."""

    key: Key
    time: int
    encoded: Encoded | None
    picture: Picture | None


@dataclass(frozen=True)
class Loaded:
    """What is known of a batch without the device."""

    rows: tuple[Row, ...]
    size_ids: Tensor  # (B, 6) px: original height, width, crop top, left, target height, width
    masks: Tensor | None  # (B, 1, h, w), 0..1; None when masks are off
    inpainting: Tensor | None = None  # (B, 5, h, w); only after `ImageStore.encoded`, for models that take it


class ImageStore:
    """Latents of views; `load` may run in another thread, the rest needs the device.

    Args:
        shelf: what is cached.
    """

    def __init__(self, encoder: Encoder, versions: Versions, shelf: Shelf):
        self.views: Sequence[View] = versions.views
        self.versions, self.shelf = versions, shelf
        self._encoder, self._settings = encoder, versions.settings
        self._keeps_all = not isinstance(shelf, Nowhere)

    def load(self, places: Sequence[tuple[int, int]]) -> Loaded:
        """What the (view, time) `places` need, from the cache or from their files.

        Raises:
            DatasetError: a file cannot be read.
        """
        rows = tuple(self._row(view, time) for view, time in places)
        size_ids = torch.tensor([self.versions.size_ids(row.key) for row in rows], dtype=torch.float32)
        masks = None if self._settings.masks == "off" else torch.stack([self._latent_mask(row) for row in rows])
        return Loaded(rows, size_ids, masks)

    def encoded(self, loaded: Loaded) -> Loaded:
        """`loaded` with all of its rows encoded, those that were not cached on the device now."""
        missing = [row for row in loaded.rows if row.encoded is None]
        rows = loaded.rows
        if missing and self._keeps_all:
            for row in missing:
                # Each alone, so that its bits do not hang on the batch that it came in first: a resumed run has other ones.
                if not self.shelf.has(row.key):
                    self.keep([row.key], self._encode_all([(row.key, row.picture)]))
            rows = tuple(row if row.encoded is not None else self._row(row.key.view, row.time) for row in rows)
        elif missing:
            told = None
            if self._encoder.is_inpainting:
                told = [[self._told(row.key, row.picture)[self._variant(row)]] for row in missing]
            fresh = iter(self._encode([(row.key, row.picture) for row in missing], told))
            rows = tuple(row if row.encoded is not None else replace(row, encoded=self._settled(row.key, next(fresh)))
                         for row in rows)
        return replace(loaded, rows=rows, inpainting=self._inpainting(rows))

    def latents(self, loaded: Loaded, generator: torch.Generator) -> Tensor:
        """(B, 4, h, w) fp32 on the CPU: drawn from each image's posterior, unless they are drawn once or not at all."""
        rows = self.encoded(loaded).rows
        mean = torch.stack([row.encoded.mean for row in rows])
        if rows[0].encoded.deviation is None:
            return mean
        deviation = torch.stack([row.encoded.deviation for row in rows])
        return mean + deviation * torch.randn(mean.shape, generator=generator)

    def grouped(self, keys: Sequence[Key]) -> list[list[Key]]:
        """`keys` as they are encoded: some of one bucket at once."""
        pending: dict[Size, list[Key]] = {}
        groups = []
        for key in keys:
            bucket = self.views[key.view].fit.size
            pending.setdefault(bucket, []).append(key)
            if len(pending[bucket]) == self._settings.cache.batch:
                groups.append(pending.pop(bucket))
        return groups + list(pending.values())

    def fill(self, keys: Sequence[Key], stopped: Callable[[], bool]) -> Iterator[int]:
        """Encodes `keys` onto the shelf; tells after each group how many are done, and ends early when `stopped`."""
        groups = self.grouped(keys)
        done = 0
        with closing(read_ahead(self.versions.picture, [key for group in groups for key in group])) as pictures:
            for group in groups:
                if stopped():
                    return
                self.keep(group, self._encode_all([next(pictures) for _ in group]))
                done += len(group)
                yield done

    def given(self, group: Sequence[Key]) -> list[Encoded]:
        """Images of one bucket: from the shelf, or encoded together.

        Raises:
            DatasetError: one cannot be read or encoded.
        """
        found = [self.shelf.get(key) for key in group]
        if None not in found:
            return found
        return self._encode_all([(key, self.versions.picture(key)) for key in group])

    def keep(self, group: Sequence[Key], encoded: Sequence[Encoded]) -> None:
        """Puts what is not there yet onto the shelf."""
        for key, one in zip(group, encoded, strict=True):
            if not self.shelf.has(key):
                # A file serves every way to sample; in memory there is only what this run takes.
                self.shelf.put(key, one if self.shelf.is_lasting else self._settled(key, one))

    def _encode_all(self, pending: Sequence[tuple[Key, Picture]]) -> list[Encoded]:
        told = [self._told(key, picture) for key, picture in pending] if self._encoder.is_inpainting else None
        return self._encode(pending, told)

    def _encode(self, pending: Sequence[tuple[Key, Picture]], told: Sequence[Sequence[Tensor]] | None) -> list[Encoded]:
        return encode(self._encoder, [picture for _, picture in pending],
                      [self.versions.item(key).path.name for key, _ in pending], told)

    def _row(self, view: int, time: int) -> Row:
        key = self.versions.key(view, time)
        encoded = self.shelf.get(key)
        if encoded is None:
            return Row(key, time, None, self.versions.picture(key))
        return Row(key, time, self._settled(key, encoded), None)

    def _settled(self, key: Key, encoded: Encoded) -> Encoded:
        seed = f"{self._settings.seed}/once/{self.versions.item(key).path.name}/{tuple(key)}"
        return settled(encoded, self._settings.cache.sampling, seed)

    def _latent_mask(self, row: Row) -> Tensor:
        mask = row.encoded.mask if row.encoded is not None else latent_mask(row.picture.mask)
        height, width = self.views[row.key.view].fit.size
        if mask is None:
            return torch.ones(1, height // LATENT, width // LATENT)
        if not self._settings.round_parts:
            return mask
        return round_part(mask, random.Random(f"{self._settings.seed}/round/{row.time}/{self.versions.item(row.key).path.name}"))

    def _told(self, key: Key, picture: Picture) -> list[Tensor]:
        view = self.views[key.view]
        return inpainting_masks(picture.mask, view.fit.size, random.Random(f"{self._settings.seed}/masks/{view.item}"))

    def _variant(self, row: Row) -> int:
        """Which of an image's masks an inpainting model is told this time."""
        item = self.views[row.key.view].item
        count = len(self._told(row.key, row.picture)) if row.encoded is None else len(row.encoded.inpainting)
        return random.Random(f"{self._settings.seed}/inpainting/{row.time}/{item}").randrange(count)

    def _inpainting(self, rows: Sequence[Row]) -> Tensor | None:
        if not self._encoder.is_inpainting:
            return None
        # A row that was encoded just now has only the one that is needed.
        return torch.stack([row.encoded.inpainting[0 if row.picture is not None else self._variant(row)] for row in rows])
