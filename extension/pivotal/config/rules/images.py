"""What is wrong, or unusual, between the options of sizes, changes and caches of images."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from pivotal.config.own import own_augment
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
    if buckets.minimum is not None and buckets.maximum is not None and buckets.minimum > buckets.maximum:
        found["buckets.maximum"] = f"is less than the shortest side, {buckets.minimum}"
    rows = {f"concepts.{index}.resolution": row.resolution for index, row in enumerate(config.concepts) if row.enabled}
    for key, text in {"dataset.resolution": config.dataset.resolution, **rows}.items():
        try:
            sizes = parse_resolutions(text)
        except ValueError as error:
            found[key] = str(error)
            continue
        if buckets.kind == "exact sizes" and sizes and key != "dataset.resolution":
            found[key] = "images keep their exact sizes; leave it empty"
        elif buckets.kind == "exact sizes" and len(sizes) > 1:
            found[key] = "images keep their exact sizes; name one resolution, which the samples take, or none"
        if buckets.kind not in ("off", "exact sizes") and sizes:
            side = min(math.isqrt(height * width) for height, width in sizes)
            if side < buckets.step:
                found["buckets.step"] = f"is more than the resolution, {side} px, so there is no size of that area; take {STEP}"
    return found


def _version_problems(config: TrainConfig) -> dict[str, str]:
    if _is_random(config) and config.cache.latents != "off" and config.augment.versions == 1:
        return {"augment.versions": "latents are cached, so one change per image would stay the same for the whole run; ask "
                                    "for several versions, or switch the latents' cache off"}
    return {}


def _is_random(config: TrainConfig) -> bool:
    """Whether any images are changed at random, those of the run or of a concept."""
    augment, rows = config.augment, [row for row in config.concepts if row.enabled and row.kind != "validation"]
    return augment.is_random or any(own_augment(augment, row).is_random for row in rows)


def image_notices(config: TrainConfig) -> dict[str, str]:
    """What is allowed and perhaps not meant, by key."""
    augment, found = config.augment, {}
    if augment.versions > 1 and not _is_random(config):
        found["augment.versions"] = "Nothing random is switched on, so all versions would be alike; one is cached."
    elif augment.versions > 1 and config.cache.latents == "off":
        found["augment.versions"] = "Nothing is cached, so each image is changed anew each time and versions do not count."
    if augment.faces and augment.random_crop:
        found["augment.random_crop"] = "Images with a face are cut around it; only the others at random sides."
    if config.cache.latents == "off" and config.cache.sampling == "once":
        found["cache.sampling"] = ("Nothing is cached; drawing once means that the same is drawn each time an image is "
                                   "encoded.")
    return found
