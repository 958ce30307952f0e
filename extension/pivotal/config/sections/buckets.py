"""To which sizes images of different forms are brought."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pivotal.config.options import option

_RANGED = ("buckets.kind", ("aspect", "invoke"))
_STEPPED = ("buckets.kind", ("aspect", "no upscale", "onetrainer", "invoke"))
_SEVERAL = ("buckets.kind", ("aspect", "no upscale", "onetrainer", "invoke", "exact sizes"))


@dataclass(frozen=True)
class Buckets:
    """Sizes of about the same area and different forms, so that little of each image is cut off; a batch is of one."""

    kind: Literal["aspect", "no upscale", "onetrainer", "invoke", "exact sizes", "off"] = option(
        "aspect", "How images get their sizes: the nearest shape in kohya's list (also without enlarging), OneTrainer's or "
        "Invoke's; as they are; or all cut to the resolution.", label="Buckets")
    step: int = option(64, "Sides of the sizes are multiples of this; below 64 less is cut off.", ge=8, le=512, unit="px",
                       shown_when=_STEPPED)
    minimum: int | None = option(None, "Shortest side of a size. Empty takes half of the resolution.", ge=8, le=4096,
                                 unit="px", ss="ss_min_bucket_reso", label="Shortest side", shown_when=_RANGED)
    maximum: int | None = option(None, "Longest side of a size. Empty takes twice the resolution.", ge=64, le=8192, unit="px",
                                 ss="ss_max_bucket_reso", label="Longest side", shown_when=_RANGED)
    incomplete: Literal["carry over", "fill"] = option(
        "carry over", "What happens to images of a size that do not fill a batch: the next epoch begins with them, or others "
        "of that size are taken twice.", label="Incomplete batches", shown_when=_SEVERAL)
