"""How a run is measured while it goes on."""

from __future__ import annotations

from dataclasses import dataclass

from pivotal.config.options import option

_NONE = (("measure.images", (0,), "No images are measured."),)


@dataclass(frozen=True)
class Measure:
    """The denoising error at noise and timesteps that stay the same, before, after and on the way."""

    images: int = option(4, "Number of images measured, at five timesteps each; 0 is off.",
                         ge=0, le=1000, label="Measured images")
    folder: str = option("", "Folder of held-out images with captions to measure on. Empty measures the dataset itself.",
                         widget="folder", void_when=_NONE)
    share: float = option(
        0.0, "Holds this share of the training images back to measure on them, drawn by the run's seed; 0 none.", ge=0, le=0.9,
        label="Held-back share", void_when=_NONE)
    every_steps: int = option(0, "Measures every N steps, too; 0 only before and after the run.", ge=0, unit="steps",
                              label="Measure every", void_when=_NONE)
    patience: int | None = option(
        None, "Ends the run after this many measurements in a row without a new best. Empty trains to the end.", ge=1, le=1000)
    restore_best: bool = option(False, "Makes the best measured step the run's result, not the last one.")
