"""What is wrong, or unusual, between the options of sizes, changes and caches of images."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from pivotal.config.resolution import STEP, parse_resolutions

if TYPE_CHECKING:
    from pivotal.config.train import TrainConfig


def image_problems(config: TrainConfig) -> dict[str, str]:
    """Problems by key."""
    return _size_problems(config) | _version_problems(config)


def _size_problems(config: TrainConfig) -> dict[str, str]:
    found, buckets = {}, config.buckets
    for key, side in (("buckets.step", buckets.step), ("buckets.minimum", buckets.minimum),
                      ("buckets.maximum", buckets.maximum)):
        if side is not None and side % STEP:
            found[key] = f"expected a multiple of {STEP}, got {side}"
    try:
        sizes = parse_resolutions(config.dataset.resolution)
    except ValueError as error:
        return found | {"dataset.resolution": str(error)}
    if buckets.kind == "exact sizes" and len(sizes) > 1:
        found["dataset.resolution"] = "images keep their exact sizes; name one resolution, which the samples take, or none"
    if buckets.minimum is not None and buckets.maximum is not None and buckets.minimum > buckets.maximum:
        found["buckets.maximum"] = f"is less than the shortest side, {buckets.minimum}"
    if buckets.kind not in ("off", "exact sizes") and sizes:
        side = min(math.isqrt(height * width) for height, width in sizes)
        if side < buckets.step:
            found["buckets.step"] = f"is more than the resolution, {side} px, so there is no size of that area; take {STEP}"
    return found


def _version_problems(config: TrainConfig) -> dict[str, str]:
    augment, cached = config.augment, config.cache.latents != "off"
    if augment.is_random and cached and augment.versions == 1:
        return {"augment.versions": "latents are cached, so one change per image would stay the same for the whole run; ask "
                                    "for several versions, or switch the latents' cache off"}
    return {}


def image_notices(config: TrainConfig) -> dict[str, str]:
    """What is allowed and perhaps not meant, by key."""
    augment, found = config.augment, {}
    if augment.versions > 1 and not augment.is_random:
        found["augment.versions"] = "Nothing random is switched on, so all versions would be alike; one is cached."
    elif augment.versions > 1 and config.cache.latents == "off":
        found["augment.versions"] = "Nothing is cached, so each image is changed anew each time and versions do not count."
    if augment.faces and augment.random_crop:
        found["augment.random_crop"] = "Images with a face are cut around it; only the others at random sides."
    if config.cache.latents == "off" and config.cache.sampling == "once":
        found["cache.sampling"] = ("Nothing is cached; drawing once means that the same is drawn each time an image is "
                                   "encoded.")
    return found
