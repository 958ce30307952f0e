"""From pictures to what is kept of them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

import torch
from torch import Tensor
from torch.nn import functional

from pivotal.data.buckets import LATENT
from pivotal.data.images import Picture
from pivotal.errors import DatasetError
from pivotal.formats.tensor_bytes import raw_bytes


class Encoder(Protocol):
    """Whoever turns pixels into a posterior over latents: a `models.diffusion.DiffusionModel`."""

    vae: Any
    family: Any
    is_inpainting: bool

    def encode_images(self, pixels: Tensor) -> tuple[Tensor, Tensor]: ...

    def encode_masked(self, pixels: Tensor, masks: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class Encoded:
    """An image as the device has encoded it: fp32 on the CPU, 128 KB for 512 px."""

    mean: Tensor  # (4, h, w) of the posterior
    deviation: Tensor | None  # likewise; None where `mean` is what is trained on
    inpainting: Tensor | None = None  # (V, 5, h, w), one for each mask an inpainting model may be told
    mask: Tensor | None = None  # (1, h, w), 0..1


def encode(encoder: Encoder, pictures: Sequence[Picture], names: Sequence[str],
           told: Sequence[Sequence[Tensor]] | None = None) -> list[Encoded]:
    """Encodes pictures of one size together.

    Args:
        names: of their files, for errors.
        told: for inpainting models, the masks (H, W) of each picture.

    Raises:
        DatasetError: the VAE answers with something that is not a number.
    """
    means, deviations = (part.cpu() for part in encoder.encode_images(torch.stack([one.pixels for one in pictures])))
    found = []
    for index, (picture, name) in enumerate(zip(pictures, names, strict=True)):
        if not torch.isfinite(means[index]).all():
            raise DatasetError(f"{name}: the VAE answers with values that are not numbers. In half precision some "
                               "SDXL VAEs do; start the host with --no-half-vae.")
        inpainting = None
        if told is not None:
            inpainting = torch.cat([encoder.encode_masked(picture.pixels[None], mask[None, None]).cpu()
                                    for mask in told[index]])
        found.append(Encoded(means[index], deviations[index], inpainting, latent_mask(picture.mask)))
    return found


def settled(encoded: Encoded, sampling: Literal["anew", "once", "mean"], seed: str) -> Encoded:
    """`encoded` as it is trained on: the posterior, one sample of it that `seed` decides, or its mean."""
    if sampling == "anew" or encoded.deviation is None:
        return encoded
    mean = encoded.mean
    if sampling == "once":
        digest = hashlib.sha256(seed.encode()).digest()
        once = torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)
        mean = mean + encoded.deviation * torch.randn(mean.shape, generator=once)
    return replace(encoded, mean=mean, deviation=None)


def latent_mask(mask: Tensor | None) -> Tensor | None:
    """(1, H, W) px as (1, h, w): each latent has the mean of its pixels."""
    return None if mask is None else functional.avg_pool2d(mask[None], LATENT)[0]


def fingerprint(encoder: Encoder) -> str:
    """Tells encoders apart by their weights, number format included: hex."""
    digest = hashlib.sha256()
    state: Mapping[str, Tensor] = encoder.vae.state_dict()
    for name, tensor in sorted(state.items()):
        if name.startswith(("encoder.", "quant_conv.")):
            digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
            digest.update(raw_bytes(tensor))
    digest.update(str(encoder.family.latent_scale).encode())
    return digest.hexdigest()
