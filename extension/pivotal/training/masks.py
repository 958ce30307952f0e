"""Losses of which only a part of each image counts."""

from __future__ import annotations

import torch
from torch import Tensor

from pivotal.config.sections.mask import Mask
from pivotal.training.seeds import generator

_SMALLEST_AREA = 1e-6  # of a mask's mean: a mask that is black all over gives a loss of 0, not of 0 / 0


def mask_of(masks: Tensor | None, settings: Mask, seed: int, position: int) -> Tensor | None:
    """(B, 1, h, w) weights for the batch at `position`: the masks, raised to the least weight.

    None, so that all counts, without masks and in the share of the batches that is drawn to learn whole images.
    """
    if masks is None or settings.source == "off":
        return None
    draw = torch.rand((), generator=generator(seed, "mask", position)).item()
    if draw < settings.unmasked_probability:
        return None
    return masks.float().clamp(settings.unmasked_weight, 1.0)


def masked_means(values: Tensor, masks: Tensor | None, normalize: bool) -> Tensor:
    """(B,) mean of each image's `values` (B, C, h, w) times its mask (B, 1, h, w), over the mask's mean if `normalize`.

    Each image for itself: a small mask does not change what its neighbours in the batch weigh.
    """
    if masks is None:
        return values.mean(dim=(1, 2, 3))
    means = (values * masks).mean(dim=(1, 2, 3))
    return means / masks.mean(dim=(1, 2, 3)).clamp_min(_SMALLEST_AREA) if normalize else means
