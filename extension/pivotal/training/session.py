"""A run between two steps: what is trained, its optimizer, how far it is; and the step itself."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from pivotal.models.diffusion import DiffusionModel
from pivotal.training.attention import attention
from pivotal.training.bad_step import BadStep, bad_loss, bad_update
from pivotal.training.batch import Batch, Batches
from pivotal.training.batch_loss import BatchLoss, Losses
from pivotal.training.best import Best
from pivotal.training.denoise import Denoiser, Untrained
from pivotal.training.ema import Averages
from pivotal.training.guard import Guard
from pivotal.training.optimizers import Stepper
from pivotal.training.part import Clock, Part
from pivotal.training.precision import gradient_scaler, tf32
from pivotal.training.ranks import Alone, Ranks, mine
from pivotal.training.record import Record
from pivotal.training.rounding import widened
from pivotal.training.seeds import generator
from pivotal.training.seen import Seen, fetched, together
from pivotal.training.session_state import packed, unpack
from pivotal.training.settings import Progress, Settings
from pivotal.training.text_cache import text_cache_of
from pivotal.training.update import update


class Session:
    """A run in being. Everything that decides its future is in `state`, so a resumed run ends as an unbroken one."""

    def __init__(self, model: DiffusionModel, parts: Sequence[Part], batches: Batches, steppers: Sequence[Stepper],
                 settings: Settings, untrained: Untrained | None = None, names: Sequence[str] = (),
                 ranks: Ranks | None = None):
        self.model = model
        self.parts = tuple(parts)
        self.batches = batches
        self.names = names  # of the images, for whoever is told of one
        self.steppers = tuple(steppers)
        self.ranks = ranks or Alone()
        self.settings = settings
        self.progress = Progress()
        self.previous = self.clock()  # before the last step
        self.scaler = gradient_scaler(model.device, settings.compute)
        self.averages = None if settings.ema_decay is None else Averages(
            parts, settings.ema_decay, on_cpu=settings.performance.averages_on_cpu)
        text = text_cache_of(model, parts, settings)
        self.losses = Losses(Denoiser(model, parts, settings.compute, untrained, text, pads=settings.pad_captions), settings)
        self.record = Record(len(model.alphas_cumprod))
        self.best = Best(parts, settings.keep_best)
        self.guard = Guard(settings.guard, any(stepper.may_overflow for stepper in steppers))
        self.is_whole = True  # False within an update, where some weights have learned and others have not

    @contextmanager
    def averaged(self, *, ema: bool = True) -> Iterator[None]:
        """While it lasts, the parts have the values that are to be kept: their averages, where there are any.

        Args:
            ema: False leaves the averages out that `optimizer.ema_decay` keeps; those of schedule-free methods are no choice.
        """
        with ExitStack() as stack:
            for stepper in self.steppers:
                stack.enter_context(stepper.averaged())
            if self.averages is not None and ema:
                stack.enter_context(self.averages.in_place())
            yield

    @property
    def has_ema(self) -> bool:
        """Whether averages over the steps are kept beside the values."""
        return self.averages is not None

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

    def estimates(self) -> dict[str, float]:
        """What optimizers that find a rate have found, by part; empty with the others."""
        found = {part.name: stepper.estimate_of(part) for stepper in self.steppers for part in stepper.parts}
        return {name: estimate for name, estimate in found.items() if estimate is not None}

    def step(self, learning: Sequence[Part]) -> str:
        """One optimizer update of `learning`; or, where its numbers are not finite, what the guard has for that.

        Returns: empty after a good step; else what was wrong and what was done, in a sentence. Whether the run is a step
        further, `progress` tells: one may be taken back, or is to be tried again.

        Raises:
            TrainingError: a bad step ends the run; the weights are as before the step.
        """
        started = time.perf_counter()
        self.previous = self.clock()
        images = self.settings.accumulation * self.batches.size
        if self.guard.leaves_out(self.progress.images):
            self.progress = self.progress.past(images, self._seconds(started))
            return ""
        if self.guard.wants_copy(self.progress.step):
            self.guard.keep_copy(self.progress.step, *self.state())
        try:
            total = self._update(learning)
        except BadStep as bad:
            for stepper in self.steppers:
                stepper.optimizer.zero_grad(set_to_none=True)
            return self._after_bad(bad, images, started)
        self.guard.good()
        self.progress = self.progress.after(images, self._seconds(started), total)
        return ""

    def _seconds(self, started: float) -> float:
        """Since `started`, by the clock of the first process, which is everybody's."""
        return self.ranks.join((), [time.perf_counter() - started if self.ranks.index == 0 else 0.0])[0]

    def _update(self, learning: Sequence[Part]) -> float:
        """The step itself; its loss."""
        for part in self.parts:
            for parameter in part.parameters:
                parameter.requires_grad_(part in learning)
        for stepper in self.steppers:
            stepper.optimizer.zero_grad(set_to_none=True)
            stepper.set_rates(self.clock())
        position = self.progress.images
        told: dict[int, tuple[Batch, BatchLoss]] = {}
        if not learning:  # one part may have ended before another begins
            return self.progress.loss
        with tf32(self.settings.tf32), attention(self.settings.performance.attention), self._training(learning):
            for index in mine(self.ranks, self.settings.accumulation):
                told[index] = self._backward(position + index * self.batches.size)
        total, seen = self._gathered(learning, told)
        self.is_whole = False
        try:
            with widened(learning, generator(self.settings.seed, "rounding", self.progress.images)):
                update(self.steppers, learning, self.scaler, self.settings.clip_norm)
        except BadStep as bad:
            self.is_whole = not bad.poisoned
            raise bad_update(bad, seen, self.losses.denoiser, self.names) from None
        for part in learning:
            part.trainable.after_step()
        if self.averages is not None:
            self.averages.update(learning)
        self.is_whole = True
        for one in seen:
            self.record.add(one.items, one.errors, one.timesteps)
        return total

    def _gathered(self, learning: Sequence[Part], told: Mapping[int, tuple[Batch, BatchLoss]]) -> tuple[float, list[Seen]]:
        """The loss of the step and what was seen in it, by all processes; their gradients are added up.

        Raises:
            BadStep: the loss is not a finite number.
        """
        values, seen = fetched(list(told.values()))
        parameters = (parameter for part in learning for parameter in part.parameters)
        total, everything = together(self.ranks, parameters, sum(value / self.settings.accumulation for value in values),
                                     dict(zip(told, seen, strict=True)), self.settings.accumulation, self.batches.size)
        if math.isfinite(total):
            return total, everything
        own = next((str(bad_loss(batch, loss, self.losses.denoiser, self.names)) for value, (batch, loss) in
                    zip(values, told.values(), strict=True) if not math.isfinite(value)), "")
        # The first process is the one that speaks, wherever the image was.
        everybodys = [words.decode() for words in self.ranks.exchange(own.encode())]
        raise BadStep(next(filter(None, everybodys), "the sum of the losses became infinite"))

    def _after_bad(self, bad: BadStep, images: int, started: float) -> str:
        """Leaves the step out, takes it back or lets it be tried again; in words which."""
        step = self.progress.step + 1
        if bad.poisoned and self.guard.goes_on:
            return self._taken_back(bad, step, self._seconds(started))
        self.guard.count(step, bad)
        if self.guard.rules.bad_step == "precise" and not self.guard.is_precise and self._is_imprecise():
            self.compute_in_fp32()
            return f"Step {step}: {bad}. It is tried again in fp32, in which the run goes on."
        self.progress = self.progress.past(images, self._seconds(started))
        return f"Step {step} is left out: {bad}."

    def _taken_back(self, bad: BadStep, step: int, seconds: float) -> str:
        """The session as it was some steps before the one that spoiled it, which will be left out when its turn comes."""
        spoiled, spent, guard = self.progress.images, self.progress.seconds + seconds, self.guard.state()
        self.restore(*self.guard.copy)
        self.guard.restore(guard)  # what is known of bad steps is not unlearned
        self.guard.leave_out(spoiled)
        self.is_whole = True
        self.progress = replace(self.progress, seconds=spent)
        self.guard.count(step, bad)
        return f"Step {step}: {bad}. The run goes back to step {self.progress.step} and will leave that one out."

    def _is_imprecise(self) -> bool:
        """Whether anything of the model's work is done in fewer than 32 bits."""
        weights = [next(module.parameters()).dtype for module in (
            self.model.unet, *(encoder.module for encoder in self.model.text_encoders))]
        return self.settings.compute != torch.float32 or any(dtype != torch.float32 for dtype in weights)

    def compute_in_fp32(self) -> None:
        """From now on, whatever the run began with."""
        self.guard.is_precise = True
        self.losses.denoiser.compute_in_fp32()
        self.scaler = gradient_scaler(self.model.device, torch.float32)

    @contextmanager
    def _training(self, learning: Sequence[Part]) -> Iterator[None]:
        for part in learning:
            part.trainable.train()
        try:
            yield
        finally:
            for part in learning:
                part.trainable.train(False)

    def _backward(self, position: int) -> tuple[Batch, BatchLoss]:
        """Adds the gradients of the batch at `position`."""
        for index, part in enumerate(self.parts):
            part.trainable.prepare(generator(self.settings.seed, f"prepare/{index}", position))
        batch = self.batches.at(position)
        loss = self.losses.of(batch, position)
        if loss.value.requires_grad:  # else no caption of the batch has a word that learns
            self.scaler.scale(loss.value / self.settings.accumulation).backward()
        return batch, BatchLoss(loss.value.detach(), loss.errors, loss.timesteps)

    def errors(self, batch: Batch, noise: Tensor, timesteps: Tensor) -> Tensor:
        """(B,) squared error of the model's prediction for `batch` at `timesteps`, with `noise`; no weights."""
        return self.losses.measured(batch, noise, timesteps)

    def state(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """Facts (JSON) and tensors from which `restore` makes this very session."""
        return packed(self)

    def restore(self, facts: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
        """Takes up a run where `state` was called."""
        unpack(self, facts, tensors)
