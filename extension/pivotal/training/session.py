"""A run between two steps: what is trained, its optimizer, how far it is; and the step itself."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor

from pivotal.errors import TrainingError
from pivotal.models.diffusion import DiffusionModel
from pivotal.training.batch import Batch, Batches
from pivotal.training.objective import add_noise, draw_timesteps, errors, target
from pivotal.training.optimizer_state import pack_optimizer, unpack_optimizer
from pivotal.training.precision import autocast, gradient_scaler
from pivotal.training.seeds import generator
from pivotal.training.trainable import Trainable


@dataclass(frozen=True)
class Settings:
    """Plain numbers of the loop."""

    seed: int
    accumulation: int
    clip_skip: int
    compute: torch.dtype


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


class Session:
    """A run in being. Everything that decides its future is in `state`, so a resumed run ends as an unbroken one."""

    def __init__(self, model: DiffusionModel, trainables: Sequence[Trainable], batches: Batches,
                 optimizer: torch.optim.Optimizer, settings: Settings):
        self.model = model
        self.trainables = tuple(trainables)
        self.batches = batches
        self.optimizer = optimizer
        self.settings = settings
        self.progress = Progress()
        self.scaler = gradient_scaler(model.device, settings.compute)
        self._alphas = model.alphas_cumprod.to(model.device)

    def learning(self) -> tuple[Trainable, ...]:
        """The trainables that the next step may change."""
        now = self.progress
        epochs = now.images / self.batches.images
        return tuple(part for part in self.trainables
                     if part.may_learn(now.step, epochs, now.images, now.seconds / 60))

    def step(self, learning: Sequence[Trainable]) -> None:
        """One optimizer update of `learning`.

        Raises:
            TrainingError: the loss or a gradient is not a finite number; the weights are as before the step.
        """
        started = time.perf_counter()
        for part in self.trainables:
            for parameter in part.parameters():
                parameter.requires_grad_(part in learning)
        self.optimizer.zero_grad(set_to_none=True)
        position, total = self.progress.images, 0.0
        for _ in range(self.settings.accumulation):
            loss = self._loss(self.batches.at(position), position) / self.settings.accumulation
            self.scaler.scale(loss).backward()
            total += self._finite(loss.item())
            position += self.batches.size
        self._update()
        for part in learning:
            part.after_step()
        self.progress = self.progress.after(position - self.progress.images, time.perf_counter() - started, total)

    def _loss(self, batch: Batch, position: int) -> Tensor:
        model, seed = self.model, self.settings.seed
        timesteps = draw_timesteps(len(batch.latents), len(self._alphas), generator(seed, "timesteps", position))
        noise = torch.randn(batch.latents.shape, generator=generator(seed, "noise", position))
        return self.errors(batch, noise, timesteps.to(model.device)).mean()

    def errors(self, batch: Batch, noise: Tensor, timesteps: Tensor) -> Tensor:
        """(B,) squared error of the model's prediction for `batch` at `timesteps`, with `noise`."""
        model = self.model
        latents, noise = batch.latents.to(model.device), noise.to(model.device)
        noisy = add_noise(latents, noise, self._alphas, timesteps)
        wanted = target(model.prediction, latents, noise, self._alphas, timesteps)
        vectors = {name: values for part in self.trainables for name, values in part.vectors().items()}
        with autocast(model.device, self.settings.compute, model.dtype):
            conditioning = model.encode_prompts(batch.prompts, vectors, self.settings.clip_skip)
            predicted = model.predict(noisy.to(model.dtype), timesteps, conditioning, batch.size_ids.to(model.device))
        return errors(predicted, wanted)

    def _finite(self, loss: float) -> float:
        if not math.isfinite(loss):
            raise TrainingError(f"The loss became {loss} at step {self.progress.step + 1}. A lower learning rate, or "
                                "precision bf16 or fp32, helps; what was learned before this step is kept.")
        return loss

    def _update(self) -> None:
        self.scaler.unscale_(self.optimizer)
        gradients = [parameter.grad for part in self.trainables for parameter in part.parameters()
                     if parameter.grad is not None]
        # With a scaler an overflow is ordinary: it skips the step and lowers its scale.
        if not self.scaler.is_enabled() and not all(bool(torch.isfinite(gradient).all()) for gradient in gradients):
            raise TrainingError(f"A gradient became infinite at step {self.progress.step + 1}. A lower learning rate, or "
                                "precision bf16 or fp32, helps; what was learned before this step is kept.")
        self.scaler.step(self.optimizer)
        self.scaler.update()

    def state(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """Facts (JSON) and tensors from which `restore` makes this very session."""
        facts = {"progress": asdict(self.progress), "scaler": self.scaler.state_dict()}
        tensors = {f"trained.{index}.{key}": value for index, part in enumerate(self.trainables)
                   for key, value in part.state_dict().items()}
        optimizer_facts, optimizer_tensors = pack_optimizer(self.optimizer)
        return facts | {"optimizer": optimizer_facts}, tensors | optimizer_tensors

    def restore(self, facts: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
        """Takes up a run where `state` was called."""
        self.progress = replace(self.progress, **facts["progress"])
        for index, part in enumerate(self.trainables):
            prefix = f"trained.{index}."
            part.load_state_dict({key[len(prefix):]: value for key, value in tensors.items() if key.startswith(prefix)})
        unpack_optimizer(self.optimizer, facts["optimizer"], tensors)
        if self.scaler.is_enabled():
            self.scaler.load_state_dict(dict(facts["scaler"]))
