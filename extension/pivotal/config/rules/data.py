"""What is wrong between the options of the dataset and its captions."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pivotal.config.train import TrainConfig


def data_problems(config: TrainConfig) -> dict[str, str]:
    """Problems by key."""
    found, dataset = {}, config.dataset
    if not dataset.folder:
        found["dataset.folder"] = "needs the folder that holds your images"
    if dataset.captions == "own" and not dataset.templates:
        found["dataset.templates"] = "needs at least one line, for instance: a photo of [name]"
    if not re.fullmatch(r"\.\w+", dataset.caption_extension.strip()):
        found["dataset.caption_extension"] = f"expected a dot and letters, as .txt; got {dataset.caption_extension!r}"
    if not config.caption.delimiter.strip() and (config.caption.shuffle or config.caption.tag_dropout):
        found["caption.delimiter"] = "needs the sign that parts tags, for instance a comma"
    for key, side in (("dataset.resolution", dataset.resolution), ("samples.size", config.samples.size)):
        if side is not None and side % 8:
            found[key] = f"expected a multiple of 8, got {side}"
    return found
