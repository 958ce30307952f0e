"""What is wrong, or unusual, with a run's images and masks beside what their folder tells."""

from __future__ import annotations

from collections.abc import Sequence

from pivotal.config.train import TrainConfig
from pivotal.data.captions import Captions
from pivotal.data.images import check_mask
from pivotal.data.inpainting import mask_file
from pivotal.data.versions import StoreSettings, cached_bytes
from pivotal.data.view import View
from pivotal.errors import DatasetError
from pivotal.jobs.dataset_plan import views_of

MUCH = 4 * 2**30  # bytes of memory for encoded images: 32,000 of 512 px
SHOWN = 3  # masks that are named
ENLARGED = 1.5  # times; beyond it an image is visibly blurred


def mask_problems(config: TrainConfig, captions: Captions | None) -> dict[str, str]:
    """What is wrong with the mask files, by key; they are opened, not decoded."""
    if config.mask.source != "files" or captions is None:
        return {}
    found = []
    for item in captions.items:
        mask = mask_file(item)
        if mask is not None:
            try:
                check_mask(mask, item.size)
            except DatasetError as error:
                found.append(str(error))
    more = f" And {len(found) - SHOWN} more." if len(found) > SHOWN else ""
    return {"mask.source": " ".join(found[:SHOWN]) + more} if found else {}


def image_notices(config: TrainConfig, captions: Captions, usual: int) -> dict[str, str]:
    """What is allowed and perhaps not meant, by key.

    Args:
        usual: px, the checkpoint's own resolution.
    """
    found, count = {}, len(captions.items)
    views = views_of(captions, config, usual)
    if config.mask.source == "files":
        without = [item.path.name for item in captions.items if mask_file(item) is None]
        if without:
            found["mask.source"] = (f"{len(without)} of {count} images have no mask, as {without[0]} (cat-masklabel.png is that "
                                    "of cat.png): of these all is learned.")
    blurred = _enlarged(views)
    if blurred:
        item, size = captions.items[blurred[0].item], blurred[0].fit.scaled
        found["dataset.resolution"] = (
            f"{len({view.item for view in blurred})} of {count} images are enlarged more than {ENLARGED:g} times, as "
            f"{item.path.name} from {item.size[1]}x{item.size[0]} to {size[1]}x{size[0]} px, and teach blur; take a smaller "
            "resolution, or buckets of no upscale.")
    needed = cached_bytes(views, StoreSettings(config.seed, config.cache,
                                               by_concept=tuple(concept.augment for concept in captions.concepts)))
    if config.cache.latents == "memory" and needed > MUCH:
        found["cache.latents"] = (f"The encoded images will take {needed / 2**30:.1f} GB of memory; with their cache on disk "
                                  "they take none.")
    return found


def _enlarged(views: Sequence[View]) -> list[View]:
    """The views whose image is enlarged beyond `ENLARGED`, the most enlarged first."""
    factors = [(view.fit.scaled[0] / max(1, view.fit.original[0]), view) for view in views]
    return [view for factor, view in sorted(factors, key=lambda pair: -pair[0]) if factor > ENLARGED]
