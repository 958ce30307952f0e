"""Measures on the host's model what a run will cost: a few steps of it, of which nothing stays."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from pivotal.config.options import flatten
from pivotal.config.train import TrainConfig
from pivotal.data.latents import ImageStore
from pivotal.data.opening import open_store
from pivotal.data.order import Order
from pivotal.data.view import View
from pivotal.errors import HostError
from pivotal.hosts.protocol import Host
from pivotal.jobs.batches import DatasetBatches
from pivotal.jobs.checks.plan import Plan
from pivotal.jobs.dataset_plan import views_of
from pivotal.jobs.memory import empty_device, is_out_of_memory, let_go
from pivotal.jobs.outlook.peak import Peak
from pivotal.jobs.outlook.samples import planned_samples
from pivotal.jobs.preparation import latents_folder, make_session, prepare_model, store_settings
from pivotal.jobs.trainees import Attached, Trainees, make_trainees
from pivotal.models.diffusion import DiffusionModel
from pivotal.models.generate import conditioning_for, generate, negative_for
from pivotal.training.heap import kept_memory
from pivotal.training.measure import denoising_errors
from pivotal.training.part import Part
from pivotal.training.ranks import Alone
from pivotal.training.session import Session

STEPS = 2  # counted after one that warms up; more of them as long as all together take less than SECONDS
MOST_STEPS = 30
SECONDS = 2.0
_NO_MATTER = ("name", "length.", "samples.", "save.", "logs.", "measure.", "sharing.", "pivot.at")  # for what a step costs


@dataclass(frozen=True)
class Probed:
    """What was measured; seconds are of the machine as it was then."""

    steps: tuple[tuple[int, float], ...]  # first step of a span in which the same parts learn, and seconds a step
    encode: float  # s an image, when it is cached
    draw: float  # s a sample, beside its steps
    draw_step: float  # s each of its steps
    error: float  # s an image that is measured
    prepare: float  # s, until the first image is encoded
    side: float  # px; root of the area that the steps were measured at, the largest of the run
    drawn_side: float  # px, likewise of the sample
    peak: int | None  # bytes beyond what the host held before, of the whole; None where it cannot be told
    device: str
    fits: bool = True  # off: the device ran out of memory, and the numbers are 0


def probe(plan: Plan, host: Host) -> Probed:
    """A few steps of the run on its largest images; the host's model is as before, and nothing is written.

    It waits for the host's lock, as a run does.

    Raises:
        PivotalError: the run could not begin, in words.
    """
    def borrowed() -> Probed:
        with host.borrow(plan.config.checkpoint) as lent, kept_memory(lent.device.type):
            return _Probe(plan, host, lent).go()

    try:
        return host.run(borrowed)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        let_go(error)
        return Probed((), 0, 0, 0, 0, 0, 0, 0, None, "", fits=False)
    finally:
        empty_device()


def speed_key(config: TrainConfig) -> tuple[tuple[str, Any], ...]:
    """What two runs have in common whose steps cost the same."""
    return tuple((key, value) for key, value in flatten(config).items() if not key.startswith(_NO_MATTER))


class _Probe:
    """One measurement on a lent model."""

    def __init__(self, plan: Plan, host: Host, lent: DiffusionModel):
        # Nothing on the disk is changed: what would be kept there is kept in memory.
        kept = plan.config.cache.latents
        cache = replace(plan.config.cache, latents="memory" if kept == "disk" else kept)
        self.plan, self.config, self.host, self.lent = plan, replace(plan.config, cache=cache), host, lent
        self.scratch = host.folders().scratch

    def go(self) -> Probed:
        started = time.perf_counter()
        with Peak(self.lent.device) as peak:
            model = prepare_model(self.lent, self.config)
            trainees = make_trainees(self.config, self.plan.base, model)
            with Attached(trainees.networks) as attached:
                prepare = time.perf_counter() - started
                views = self._largest(model)
                encode, store = self._encoded(model, views)
                with self._batches(store, views, model, trainees) as batches:
                    session = make_session(self.plan, model, trainees, batches, attached.lifted, Alone())
                    steps = tuple(self._spans(session))
                    error = self._error(session, batches)
                    draw, draw_step, drawn = self._draw(model, trainees)
        height, width = views[0].fit.size
        return Probed(steps, encode, draw, draw_step, error, prepare, (height * width) ** 0.5, drawn, peak.bytes,
                      str(model.device))

    def _largest(self, model: DiffusionModel) -> list[View]:
        """A batch of views, or as many as there are, of the size that costs most."""
        views = views_of(self.plan.captions, self.config, model.resolution)
        size = max((view.fit.size for view in views), key=lambda size: size[0] * size[1])
        return [view for view in views if view.fit.size == size][:self.config.batch.size]

    def _encoded(self, model: DiffusionModel, views: Sequence[View]) -> tuple[float, ImageStore]:
        """Seconds an image, and a store with all of `views`."""
        self._open(model, views[:1])  # warms up
        started = time.perf_counter()
        store = self._open(model, views)
        self._settle()
        versions = max(1, sum(1 for _ in store.versions.keys()))
        return (time.perf_counter() - started) / versions, store

    def _open(self, model: DiffusionModel, views: Sequence[View]) -> ImageStore:
        captions = self.plan.captions
        store = open_store(model, captions.items, views, store_settings(self.config, captions), latents_folder(self.scratch),
                           progress=lambda _done, _of: None, stopped=lambda: False)
        assert store is not None  # nobody stops it
        return store

    def _batches(self, store: ImageStore, views: Sequence[View], model: DiffusionModel, trainees: Trainees) -> DatasetBatches:
        config = self.config
        order = Order([replace(view, rate=1.0, phase=0.0) for view in views], config.batch.size, config.seed, "fill")
        return DatasetBatches(store, self.plan.captions, order, seed=config.seed, tokenizer=model.tokenizer,
                               comma_backtrack=model.comma_backtrack,
                              placeholders=trainees.counts(), rules=config.caption)

    def _spans(self, session: Session) -> Iterator[tuple[int, float]]:
        """For each span of the run in which the same parts learn: its first step, and seconds a step."""
        ends = {end for part in session.parts for end in (part.first, part.last) if end}
        for first in sorted({0, *(end for end in ends if end < self.config.length.steps)}):
            learning = tuple(part for part in session.parts if part.learns and part.first <= first
                             and (part.last is None or first < part.last))
            yield first, self._step(session, learning)

    def _step(self, session: Session, learning: Sequence[Part]) -> float:
        session.step(learning)  # warms up
        self._settle()
        times: list[float] = []
        while len(times) < STEPS or (sum(times) < SECONDS and len(times) < MOST_STEPS):
            self._check()
            times.append(self._timed(lambda: session.step(learning)))
        return statistics.median(times)

    def _error(self, session: Session, batches: DatasetBatches) -> float:
        """Seconds for one image at all timesteps that are measured."""
        if not self.config.measure.images:
            return 0.0
        denoising_errors(session, batches, 1)
        return self._timed(lambda: denoising_errors(session, batches, 1)) / self.config.batch.size

    def _draw(self, model: DiffusionModel, trainees: Trainees) -> tuple[float, float, float]:
        """Seconds of a sample without steps, of each of its steps, and the root of its area in px."""
        samples, planned = self.config.samples, planned_samples(self.config, self.plan.captions, model.resolution)
        if not planned or not (samples.every_steps or samples.every_epochs):
            return 0.0, 0.0, 0.0
        line, settings = planned[0]
        vectors = trainees.vectors()

        def draw(steps: int) -> None:
            told = conditioning_for(model, line.prompt, vectors), negative_for(model, line.negative or samples.negative, vectors)
            generate(model, *told, replace(settings, steps=steps))

        draw(1)
        # The quicker of two, for other programs only ever make it slower.
        short, long = (min(self._timed(lambda count=count: draw(count)) for _ in range(2)) for count in (1, 9))
        each = max(0.0, (long - short) / 8)
        return max(0.0, short - each), each, (settings.width * settings.height) ** 0.5

    def _timed(self, work: Callable[[], Any]) -> float:
        started = time.perf_counter()
        work()
        self._settle()
        return time.perf_counter() - started

    def _settle(self) -> None:
        """A graphics card works on while the processor goes on."""
        if self.lent.device.type == "cuda":
            torch.cuda.synchronize(self.lent.device)

    def _check(self) -> None:
        changed = self.host.changed()
        if changed or self.host.stop_requested():
            raise HostError(changed or "Interrupted; nothing was measured.")
