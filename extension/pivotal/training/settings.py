"""The numbers of a run's loop: those it is given, and how far it is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from pivotal.config.sections.guard import Guard, Performance
from pivotal.config.sections.loss import Loss, Noise, Timesteps
from pivotal.config.sections.mask import Mask


@dataclass(frozen=True)
class Settings:
    """Plain numbers of the loop."""

    seed: int
    steps: int
    accumulation: int
    compute: torch.dtype
    loss: Loss = Loss()
    noise: Noise = Noise()
    timesteps: Timesteps = Timesteps()
    clip_norm: float | None = None  # of each part's gradient
    ema_decay: float | None = None
    mask: Mask = Mask()
    minutes: float | None = None  # spent in steps, after which the run ends
    tf32: bool | None = None  # on, off, or as the host has it
    keep_best: bool = False  # keep the values of the best measured step, to go back to
    cache_text: bool = False  # keep what the text encoders answer, where nothing of theirs is trained
    text_folder: Path | None = None  # where it is kept for later runs, too
    pad_captions: bool = True  # fill them up to 75 tokens, as prompts are
    guard: Guard = Guard()
    performance: Performance = Performance()


@dataclass(frozen=True)
class Progress:
    """How far a run is, at the end of an optimizer step."""

    step: int = 0
    images: int = 0  # seen, so that images / dataset size is the epoch
    seconds: float = 0.0  # spent in steps, over all sessions of a resumed run
    loss: float = 0.0
    smooth_loss: float = 0.0

    def after(self, images: int, seconds: float, loss: float) -> Progress:
        """One step on. The smoothed loss is an average with decay min(0.99, 1 - 1/n): a mean at first (OneTrainer)."""
        decay = min(0.99, 1 - 1 / (self.step + 1))
        smooth = decay * self.smooth_loss + (1 - decay) * loss
        return Progress(self.step + 1, self.images + images, self.seconds + seconds, loss, smooth)

    def past(self, images: int, seconds: float) -> Progress:
        """One step on, of which nothing was learned."""
        return Progress(self.step + 1, self.images + images, self.seconds + seconds, self.loss, self.smooth_loss)
