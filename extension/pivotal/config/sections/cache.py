"""What is kept so that it is computed once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pivotal.config.options import option

_KEPT = ("cache.latents", ("memory", "disk"))


@dataclass(frozen=True)
class Cache:
    """Latents, the images as the VAE encodes them; and captions, as the text encoders do."""

    latents: Literal["memory", "disk", "off"] = option(
        "memory", "Keeps encoded images in memory, or on disk for later runs, too. Off encodes them anew each time, which "
        "is slower.", label="Cache latents")
    sampling: Literal["anew", "once", "mean"] = option(
        "anew", "The VAE gives a range of likely latents for each image: draws from it each time, draws once, or takes the mean.",
        label="Latent sampling")
    batch: int = option(1, "Number of images of one size that are encoded at once; more is faster on a large card.", ge=1,
                        le=64, label="Encoded at once", ss="ss_vae_batch_size", shown_when=_KEPT)
    when: Literal["before", "as needed"] = option(
        "before", "Encodes all images before the first step, or each when it is first needed: training then begins at once, and "
        "a damaged image is found only on the way.", label="Encode images", shown_when=_KEPT)
    keep_days: int | None = option(
        90, "Deletes cached images and captions from disk that no run has used for this long, whenever a run begins. "
        "Empty: never.", ge=1, le=10_000,
        unit="days", label="Keep unused for")
    keep_gb: float | None = option(
        None, "Room on disk for cached images and captions. When a run begins, what was unused longest is deleted beyond it, but "
        "none of its own images. Empty: no limit.", above=0, unit="GB", label="Keep at most")
    text: Literal["auto", "disk", "off"] = option(
        "auto", "Keeps the text encoders' output where only the UNet is trained; on disk for later runs, too. Off computes it at "
        "each step.",
        label="Cache captions", ss="ss_cache_text_encoder_outputs")
