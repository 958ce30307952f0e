"""Opens a store of latents: what is kept is found again, what is missing is encoded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from functools import lru_cache
from pathlib import Path

from pivotal.data.encoding import Encoder, fingerprint
from pivotal.data.faces import find_face
from pivotal.data.folder import Item
from pivotal.data.latent_cache import Disk, Memory, Nowhere, Shelf, content_name, file_hash
from pivotal.data.latents import ImageStore
from pivotal.data.mask_area import find_box
from pivotal.data.together import Company, divided, fill_together
from pivotal.data.versions import Key, StoreSettings, Versions
from pivotal.data.view import View


def open_store(encoder: Encoder, items: Sequence[Item], views: Sequence[View], settings: StoreSettings, folder: Path, *,
               progress: Callable[[int, int], None], stopped: Callable[[], bool],
               memory: Memory | None = None, company: Company | None = None) -> ImageStore | None:
    """A store with all encoded that is to be cached before it is needed; None when stopped.

    Args:
        folder: where files are kept that later runs find again.
        progress: is told how many of how many are encoded; asked for none, all had been found.
        memory: where images are kept that are cached in memory, perhaps with some of an earlier try.
        company: processes that call this at the same time with the same images, and share the work.

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
    alone = company is None or company.count == 1
    for count, key in enumerate(keys, 1):
        if alone and stopped():
            return None
        if not shelf.has(key):
            missing.append(key)
        elif shelf.is_lasting:
            progress(count - len(missing), len(keys))
    if settings.cache.when == "as needed":
        return store
    work = None if alone else divided(store, keys, missing, company)
    wanted = len(missing) if work is None else sum(len(group) for groups in work for group in groups)
    found = len(keys) - wanted
    progress(found, len(keys))
    # Processes that wait for one another stop together, which fill_together sees to.
    with closing(store.fill(missing, stopped) if work is None else fill_together(store, work, company, stopped)) as filling:
        done = 0
        for done in filling:
            progress(found + done, len(keys))
    return store if done == wanted else None


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
