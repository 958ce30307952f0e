"""A step whose numbers are not finite: which, of which images, and where they came from."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pivotal.training.batch import Batch
from pivotal.training.batch_loss import BatchLoss
from pivotal.training.denoise import Denoiser
from pivotal.training.seen import Seen

SHOWN = 4  # images in a sentence
_NAMES = {torch.float32: "fp32", torch.float16: "fp16", torch.bfloat16: "bf16"}


class BadStep(Exception):
    """Numbers of a step that are not finite, or so large that the update would not be.

    Args:
        what: a sentence's middle, as "the loss became nan: the UNet's answer in fp16 for a.png at timestep 812".
        poisoned: whether weights or an optimizer's numbers have them already, so that the step must be taken back.
    """

    def __init__(self, what: str, *, poisoned: bool = False):
        super().__init__(what)
        self.poisoned = poisoned


def bad_loss(batch: Batch, loss: BatchLoss, denoiser: Denoiser, names: Sequence[str]) -> BadStep:
    """The loss of `batch` is not finite: of which of its images, and because of what.

    Args:
        names: of all images, by the numbers that batches have for them.
    """
    rows = [index for index, error in enumerate(loss.errors.tolist()) if error - error != 0] or list(range(len(loss.errors)))
    where = _images([(_name(batch.items, row, names), loss.timesteps[row]) for row in rows])
    return BadStep(f"the loss became {loss.value.item()}: {_origin(batch, rows, denoiser)} for {where}")


def bad_update(bad: BadStep, seen: Sequence[Seen], denoiser: Denoiser, names: Sequence[str]) -> BadStep:
    """`bad`, with the images whose gradient it was, and the number format of the work."""
    told = [(_name(one.items, row, names), timestep) for one in seen for row, timestep in enumerate(one.timesteps)]
    computed = format_of(denoiser.compute, denoiser.model.dtype)
    return BadStep(f"{bad}, by {_images(told)}, computed in {computed}", poisoned=bad.poisoned)


def _images(told: Sequence[tuple[str, Tensor | float]]) -> str:
    """``a.png at timestep 812, b.png at 30``."""
    words = [f"{name} at {'' if place else 'timestep '}{int(timestep)}" for place, (name, timestep) in enumerate(told[:SHOWN])]
    return ", ".join(words) + (f" and {len(told) - SHOWN} more" if len(told) > SHOWN else "")


def _name(items: Sequence[int], row: int, names: Sequence[str]) -> str:
    if not items:
        return f"image {row + 1} of the batch"
    item = items[row]
    return names[item] if item < len(names) else f"image {item + 1}"


@torch.no_grad()
def _origin(batch: Batch, rows: Sequence[int], denoiser: Denoiser) -> str:
    """The first thing on the way to the loss that is not finite for one of `rows`, with its number format."""
    model, rows = denoiser.model, list(rows)
    if not _finite(batch.latents[rows]):
        return "the latents, as the VAE encoded them,"
    if not _finite(denoiser.told(batch).hidden[rows]):
        return f"the text encoders' answer in {format_of(denoiser.compute, model.text_dtype)}"
    return f"the UNet's answer in {format_of(denoiser.compute, model.dtype)}"


def format_of(compute: torch.dtype, weights: torch.dtype) -> str:
    """The number format of a part's work: under autocast that of `compute`, which fp32 switches off."""
    dtype = weights if compute == torch.float32 else compute
    return _NAMES.get(dtype, str(dtype))


def _finite(tensor: Tensor) -> bool:
    return bool(torch.isfinite(tensor).all())
