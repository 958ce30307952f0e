"""The latents of a dataset's images, whether they are cached or encoded when they are needed."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from pivotal.data.buckets import LATENT
from pivotal.data.encoding import Encoded, Encoder, encode, fingerprint, latent_mask, settled
from pivotal.data.faces import find_face
from pivotal.data.folder import Item
from pivotal.data.images import Picture
from pivotal.data.inpainting import inpainting_masks
from pivotal.data.latent_cache import Disk, Memory, Nowhere, Shelf, content_name, file_hash
from pivotal.data.mask_area import find_box, round_part
from pivotal.data.prefetch import read_ahead
from pivotal.data.versions import Key, StoreSettings, Versions
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
        if missing:
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

    def fill(self, keys: Sequence[Key], size: int) -> Iterator[int]:
        """Encodes `keys` onto the shelf, up to `size` of one bucket at once; tells after each how many are done."""
        pending: dict[Size, list[tuple[Key, Picture]]] = {}
        done = 0
        for key, picture in read_ahead(self.versions.picture, keys):
            bucket = self.views[key.view].fit.size
            pending.setdefault(bucket, []).append((key, picture))
            if len(pending[bucket]) == size:
                done += self._put(pending.pop(bucket))
                yield done
        for rest in pending.values():
            done += self._put(rest)
            yield done

    def _put(self, pending: Sequence[tuple[Key, Picture]]) -> int:
        told = [self._told(key, picture) for key, picture in pending] if self._encoder.is_inpainting else None
        for (key, _), encoded in zip(pending, self._encode(pending, told), strict=True):
            # A file serves every way to sample; in memory there is only what this run takes.
            self.shelf.put(key, encoded if self.shelf.is_lasting else self._settled(key, encoded))
        return len(pending)

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


def open_store(encoder: Encoder, items: Sequence[Item], views: Sequence[View], settings: StoreSettings, folder: Path, *,
               progress: Callable[[int, int], None], stopped: Callable[[], bool],
               memory: Memory | None = None) -> ImageStore | None:
    """A store with all encoded that is to be cached; None when stopped.

    Args:
        folder: where files are kept that later runs find again.
        progress: is told how many of how many are encoded; asked for none, all had been found.
        memory: where images are kept that are cached in memory, perhaps with some of an earlier try.

    Raises:
        DatasetError: an image or its mask cannot be read or encoded.
    """
    versions = Versions(items, views, settings, reads_masks=encoder.is_inpainting)
    versions.faces = _faces(items, settings, stopped)
    if settings.cut_to_masks and settings.masks != "off":
        boxes = {index: find_box(*masked) for index, masked in versions.masked().items() if not stopped()}
        versions.boxes = {index: box for index, box in boxes.items() if box is not None}
    if settings.cache.latents == "off":
        return ImageStore(encoder, versions, Nowhere())
    keys, missing = list(versions.keys()), []
    shelf: Shelf = memory or Memory() if settings.cache.latents == "memory" else Disk(folder, _naming(versions, encoder))
    store = ImageStore(encoder, versions, shelf)
    for count, key in enumerate(keys, 1):
        if stopped():
            return None
        if not shelf.has(key):
            missing.append(key)
        elif shelf.is_lasting:
            progress(count - len(missing), len(keys))
    found = len(keys) - len(missing)
    progress(found, len(keys))
    filling = store.fill(missing, settings.cache.batch)
    try:
        while not stopped():
            done = next(filling, None)
            if done is None:
                return store
            progress(found + done, len(keys))
    finally:
        filling.close()
    return None


def _faces(items: Sequence[Item], settings: StoreSettings, stopped: Callable[[], bool]) -> dict[int, tuple[float, float]]:
    found = {}
    for index, item in enumerate(items):
        face = find_face(item.path) if settings.augment_of(item).faces and not stopped() else None
        if face is not None:
            found[index] = face
    return found


def _naming(versions: Versions, encoder: Encoder) -> Callable[[Key], str]:
    hashed, weights = lru_cache(maxsize=None)(file_hash), fingerprint(encoder)

    def name(key: Key) -> str:
        view, mask = versions.views[key.view], versions.mask(key)
        # Drawn masks come from the seed and the image's place in the dataset.
        told = f"/{versions.settings.seed}/{view.item}" if encoder.is_inpainting else ""
        return content_name(hashed(versions.item(key).path), hashed(mask) if isinstance(mask, Path) else str(mask), view.fit,
                            versions.change(key), weights + told)

    return name
