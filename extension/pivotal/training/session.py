"""A run between two steps: what is trained, its optimizer, how far it is; and the step itself."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, replace
from typing import Any

from torch import Tensor

from pivotal.models.diffusion import DiffusionModel
from pivotal.training.batch import Batch, Batches
from pivotal.training.batch_loss import Losses
from pivotal.training.best import Best
from pivotal.training.denoise import Denoiser, Untrained
from pivotal.training.ema import Averages
from pivotal.training.optimizer_state import pack_optimizer, unpack_optimizer
from pivotal.training.optimizers import Stepper
from pivotal.training.part import Clock, Part
from pivotal.training.precision import gradient_scaler, tf32
from pivotal.training.record import Record
from pivotal.training.seeds import generator
from pivotal.training.settings import Progress, Settings
from pivotal.training.text_cache import TextCache, text_stays
from pivotal.training.update import finite, update


class Session:
    """A run in being. Everything that decides its future is in `state`, so a resumed run ends as an unbroken one."""

    def __init__(self, model: DiffusionModel, parts: Sequence[Part], batches: Batches, steppers: Sequence[Stepper],
                 settings: Settings, untrained: Untrained | None = None):
        self.model = model
        self.parts = tuple(parts)
        self.batches = batches
        self.steppers = tuple(steppers)
        self.settings = settings
        self.progress = Progress()
        self.previous = self.clock()  # before the last step
        self.scaler = gradient_scaler(model.device, settings.compute)
        self._averages = None if settings.ema_decay is None else Averages(parts, settings.ema_decay)
        text = TextCache() if settings.cache_text and text_stays(parts) else None
        self.losses = Losses(Denoiser(model, parts, settings.compute, untrained, text), settings)
        self.record = Record(len(model.alphas_cumprod))
        self.best = Best(parts, settings.keep_best)

    @contextmanager
    def averaged(self, *, ema: bool = True) -> Iterator[None]:
        """While it lasts, the parts have the values that are to be kept: their averages, where there are any.

        Args:
            ema: False leaves the averages out that `optimizer.ema_decay` keeps; those of schedule-free methods are no choice.
        """
        with ExitStack() as stack:
            for stepper in self.steppers:
                stack.enter_context(stepper.averaged())
            if self._averages is not None and ema:
                stack.enter_context(self._averages.in_place())
            yield

    @property
    def has_ema(self) -> bool:
        """Whether averages over the steps are kept beside the values."""
        return self._averages is not None

    def clock(self) -> Clock:
        """How much training is done."""
        now = self.progress
        return Clock(now.step, self.settings.steps, now.images / self.batches.images, now.images,
                     now.seconds / 60, self.settings.minutes)

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
        self.previous = self.clock()
        for part in self.parts:
            for parameter in part.parameters:
                parameter.requires_grad_(part in learning)
        for stepper in self.steppers:
            stepper.optimizer.zero_grad(set_to_none=True)
            stepper.set_rates(self.clock())
        position = self.progress.images
        total = 0.0 if learning else self.progress.loss  # one part may have ended before another begins
        with tf32(self.settings.tf32), self._training(learning):
            for _ in range(self.settings.accumulation):
                if learning:
                    total += self._backward(position) / self.settings.accumulation
                position += self.batches.size
        update(self.steppers, learning, self.scaler, self.settings.clip_norm, self.progress.step + 1)
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
        batch = self.batches.at(position)
        loss = self.losses.of(batch, position)
        if loss.value.requires_grad:  # else no caption of the batch has a word that learns
            self.scaler.scale(loss.value / self.settings.accumulation).backward()
        value = finite(loss.value.item(), self.progress.step + 1)
        self.record.add(batch.items, loss.errors, loss.timesteps)
        return value

    def errors(self, batch: Batch, noise: Tensor, timesteps: Tensor) -> Tensor:
        """(B,) squared error of the model's prediction for `batch` at `timesteps`, with `noise`; no weights."""
        return self.losses.measured(batch, noise, timesteps)

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
        facts["best"], more = self.best.state()
        return facts, tensors | more | self.record.state()

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
        if "best" in facts:  # states of 0.2.0 have neither
            self.best.restore(facts["best"], tensors)
            self.record.restore(tensors)
        if self.scaler.is_enabled():
            self.scaler.load_state_dict(dict(facts["scaler"]))
