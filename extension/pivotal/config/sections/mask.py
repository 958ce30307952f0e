"""Which part of each image is learned."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pivotal.config.options import option

_MASKED = ("mask.source", ("files", "alpha"))
_WHOLE = (("mask.unmasked_probability", (1.0,), "Every step learns the whole image."),)


@dataclass(frozen=True)
class Mask:
    """Masks: white is learned, black is not, grey in between."""

    source: Literal["off", "files", "alpha"] = option(
        "off", "Where masks come from: files beside the images (cat-masklabel.png for cat.png), or the images' transparency.",
        label="Masks")
    unmasked_probability: float = option(
        0.1, "Share of the steps that learn the whole image, mask or not, so that the background is not forgotten.", ge=0,
        le=1, step=0.01, shown_when=_MASKED)
    unmasked_weight: float = option(0.1, "Least weight of a place, however black its mask is; 0 learns nothing there.", ge=0,
                                    le=1, step=0.01, shown_when=_MASKED, void_when=_WHOLE)
    normalize: bool = option(
        False, "Divides each image's loss by the mean of its mask, so that a small mask teaches as strongly as a large one.",
        label="Normalize by area", shown_when=_MASKED, void_when=_WHOLE)
    prior_weight: float = option(
        0.0, "Holds what is masked to what the model drew there before the run, this strongly; 0 is off. Costs time.", ge=0,
        le=10, label="Masked prior preservation", shown_when=_MASKED)
    crop: bool = option(
        False, "Cuts each image around what its mask shows white, with a fifth more, as far as the image has pixels for it.",
        label="Cut to the mask", shown_when=_MASKED)
    round_parts: bool = option(
        False, "Learns only a round part of each mask, another one each time: a fifth to all of its reach around a place in it.",
        label="Round parts of the mask", shown_when=_MASKED, void_when=_WHOLE, source="OneTrainer's circular mask shrink")
