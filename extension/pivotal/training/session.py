"""A run between two steps: what is trained, its optimizer, how far it is; and the step itself."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor

from pivotal.config.sections.loss import Loss, Noise, Timesteps
from pivotal.errors import TrainingError
from pivotal.models.diffusion import DiffusionModel
from pivotal.training.batch import Batch, Batches
from pivotal.training.ema import Averages
from pivotal.training.loss import errors, losses, weights
from pivotal.training.noise import draw_noise, perturbed
from pivotal.training.objective import add_noise, draw_timesteps, target
from pivotal.training.optimizer_state import pack_optimizer, unpack_optimizer
from pivotal.training.optimizers import Stepper
from pivotal.training.part import Clock, Part
from pivotal.training.precision import autocast, gradient_scaler
from pivotal.training.seeds import generator


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

    def __init__(self, model: DiffusionModel, parts: Sequence[Part], batches: Batches, steppers: Sequence[Stepper],
                 settings: Settings):
        self.model = model
        self.parts = tuple(parts)
        self.batches = batches
        self.steppers = tuple(steppers)
        self.settings = settings
        self.progress = Progress()
        self.scaler = gradient_scaler(model.device, settings.compute)
        self._averages = None if settings.ema_decay is None else Averages(parts, settings.ema_decay)
        self._alphas = model.alphas_cumprod.to(model.device)

    def averaged(self) -> AbstractContextManager[None]:
        """While it lasts, the parts have the values that are to be kept: their averages, where there are any."""
        return nullcontext() if self._averages is None else self._averages.in_place()

    def clock(self) -> Clock:
        """How much training is done."""
        now = self.progress
        return Clock(now.step, self.settings.steps, now.images / self.batches.images, now.images, now.seconds / 60)

    def learning(self) -> tuple[Part, ...]:
        """The parts that the next step may change."""
        clock = self.clock()
        return tuple(part for part in self.parts if part.may_learn(clock))

    def over(self) -> bool:
        """Whether no step to come will change anything."""
        clock = self.clock()
        return all(part.over(clock) for part in self.parts)

    def rates(self, learning: Sequence[Part]) -> dict[str, float]:
        """With what rate each part learned in the last step; 0 for those that did not."""
        return {part.name: stepper.rate_of(part) if part in learning else 0.0
                for stepper in self.steppers for part in stepper.parts}

    def step(self, learning: Sequence[Part]) -> None:
        """One optimizer update of `learning`.

        Raises:
            TrainingError: the loss or a gradient is not a finite number; the weights are as before the step.
        """
        started = time.perf_counter()
        for part in self.parts:
            for parameter in part.trainable.parameters():
                parameter.requires_grad_(part in learning)
        for stepper in self.steppers:
            stepper.optimizer.zero_grad(set_to_none=True)
            stepper.set_rates(self.clock())
        position = self.progress.images
        total = 0.0 if learning else self.progress.loss  # one part may have ended before another begins
        with self._training(learning):
            for _ in range(self.settings.accumulation):
                if learning:
                    total += self._backward(position) / self.settings.accumulation
                position += self.batches.size
        self._update(learning)
        for part in learning:
            part.trainable.after_step()
        if self._averages is not None:
            self._averages.update(learning)
        self.progress = self.progress.after(position - self.progress.images, time.perf_counter() - started, total)

    @contextmanager
    def _training(self, learning: Sequence[Part]) -> Iterator[None]:
        for part in learning:
            part.trainable.train()
        try:
            yield
        finally:
            for part in learning:
                part.trainable.train(False)

    def _backward(self, position: int) -> float:
        """Adds the gradients of the batch at `position`; its loss."""
        for index, part in enumerate(self.parts):
            part.trainable.prepare(generator(self.settings.seed, f"prepare/{index}", position))
        loss = self._loss(self.batches.at(position), position)
        self.scaler.scale(loss / self.settings.accumulation).backward()
        return self._finite(loss.item())

    def _loss(self, batch: Batch, position: int) -> Tensor:
        model, settings, count = self.model, self.settings, len(batch.latents)
        timesteps = draw_timesteps(count, len(self._alphas), settings.timesteps, generator(settings.seed, "timesteps", position))
        noises = generator(settings.seed, "noise", position)
        noise = draw_noise(batch.latents, settings.noise, noises)
        seen = perturbed(noise, settings.noise.input_perturbation, noises)
        timesteps = timesteps.to(model.device)
        predicted, wanted = self._predicted(batch, noise, seen, timesteps)
        loss = losses(predicted, wanted, timesteps, self._alphas, settings.loss)
        return (loss * weights(timesteps, self._alphas, model.prediction, settings.loss)).mean()

    def errors(self, batch: Batch, noise: Tensor, timesteps: Tensor) -> Tensor:
        """(B,) squared error of the model's prediction for `batch` at `timesteps`, with `noise`; no weights."""
        return errors(*self._predicted(batch, noise, noise, timesteps))

    def _predicted(self, batch: Batch, noise: Tensor, seen: Tensor, timesteps: Tensor) -> tuple[Tensor, Tensor]:
        """The model's prediction for latents under the noise `seen`, and what it should be for `noise`."""
        model = self.model
        latents, noise, seen = (tensor.to(model.device) for tensor in (batch.latents, noise, seen))
        noisy = add_noise(latents, seen, self._alphas, timesteps)
        wanted = target(model.prediction, latents, noise, self._alphas, timesteps)
        vectors = {name: values for part in self.parts for name, values in part.trainable.vectors().items()}
        with autocast(model.device, self.settings.compute, model.dtype):
            conditioning = model.encode_prompts(batch.prompts, vectors)
            predicted = model.predict(noisy.to(model.dtype), timesteps, conditioning, batch.size_ids.to(model.device),
                                      batch.inpainting)
        return predicted, wanted

    def _finite(self, loss: float) -> float:
        if not math.isfinite(loss):
            raise TrainingError(f"The loss became {loss} at step {self.progress.step + 1}. A lower learning rate, or "
                                "precision bf16 or fp32, helps; what was learned before this step is kept.")
        return loss

    def _update(self, learning: Sequence[Part]) -> None:
        # A part that rests has no gradient, and its optimizer's clocks and decay rest with it.
        steppers = [stepper for stepper in self.steppers if any(part in learning for part in stepper.parts)]
        for stepper in steppers:
            self.scaler.unscale_(stepper.optimizer)
        gradients = [parameter.grad for part in learning for parameter in part.trainable.parameters()
                     if parameter.grad is not None]
        # With a scaler an overflow is ordinary: it skips the step and lowers its scale.
        if not self.scaler.is_enabled() and not all(bool(torch.isfinite(gradient).all()) for gradient in gradients):
            raise TrainingError(f"A gradient became infinite at step {self.progress.step + 1}. A lower learning rate, or "
                                "precision bf16 or fp32, helps; what was learned before this step is kept.")
        if self.settings.clip_norm is not None:
            for part in learning:  # each for itself: an embedding's gradient is no measure for a network's
                torch.nn.utils.clip_grad_norm_(part.trainable.parameters(), self.settings.clip_norm)
        for stepper in steppers:
            self.scaler.step(stepper.optimizer)
        if steppers:
            self.scaler.update()

    def state(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """Facts (JSON) and tensors from which `restore` makes this very session."""
        tensors = {f"trained.{index}.{key}": value for index, part in enumerate(self.parts)
                   for key, value in part.trainable.state_dict().items()}
        optimizers = []
        for index, stepper in enumerate(self.steppers):
            packed, more = pack_optimizer(stepper.optimizer, f"optimizer.{index}.")
            optimizers.append(packed)
            tensors |= more
        facts = {"progress": asdict(self.progress), "scaler": self.scaler.state_dict(), "optimizers": optimizers}
        if self._averages is not None:
            facts["averages"], more = self._averages.state()
            tensors |= more
        return facts, tensors

    def restore(self, facts: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
        """Takes up a run where `state` was called."""
        self.progress = replace(self.progress, **facts["progress"])
        for index, part in enumerate(self.parts):
            prefix = f"trained.{index}."
            part.trainable.load_state_dict({key[len(prefix):]: value for key, value in tensors.items()
                                            if key.startswith(prefix)})
        for index, (stepper, packed) in enumerate(zip(self.steppers, facts["optimizers"], strict=True)):
            unpack_optimizer(stepper.optimizer, packed, tensors, f"optimizer.{index}.")
        if self._averages is not None:
            self._averages.restore(facts["averages"], tensors)
        if self.scaler.is_enabled():
            self.scaler.load_state_dict(dict(facts["scaler"]))
