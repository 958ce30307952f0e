"""Carries out a plan: borrow, prepare, train, save, refresh."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

from pivotal.config.files import dump_run
from pivotal.errors import DatasetError, HostError, TrainingError
from pivotal.events import Emit, Event, Finished, Noticed, Paused, Phase, Resumed, Started
from pivotal.formats.atomic import remove_leftovers, write_text
from pivotal.hosts.protocol import Host
from pivotal.jobs.after_step import AfterStep
from pivotal.jobs.batches import DatasetBatches
from pivotal.jobs.checks.images import image_notices
from pivotal.jobs.checks.plan import Plan
from pivotal.jobs.control import Control
from pivotal.jobs.dataset_plan import planned
from pivotal.jobs.image_losses import tell_losses
from pivotal.jobs.ledger import Ledger
from pivotal.jobs.logs.journal import journal
from pivotal.jobs.logs.run_logs import logs
from pivotal.jobs.measuring import Measuring
from pivotal.jobs.memory import empty_device, is_out_of_memory
from pivotal.jobs.outputs import Artifact, Outputs, preview_of
from pivotal.jobs.paths import RunPaths, run_paths
from pivotal.jobs.pausing import Kept, state_of
from pivotal.jobs.preparation import make_batches, make_room, make_session, prepare_model
from pivotal.jobs.previews import Previews
from pivotal.jobs.saving import Saving, reason
from pivotal.jobs.trainees import Attached, Trainees, make_trainees
from pivotal.jobs.watch.insights import Insights
from pivotal.jobs.watch.watching import Watching
from pivotal.models.diffusion import DiffusionModel
from pivotal.training.loop import train
from pivotal.training.ranks import Alone, Ranks
from pivotal.training.session import Session


@dataclass(frozen=True)
class Outcome:
    """What a run has learned, outside of the model it was learned on."""

    files: Sequence[Artifact]
    step: int
    loss: float | None
    stopped: bool
    metrics: dict[str, float]


class Run:
    """One run of a plan on a host.

    Raises, from `go`:
        PivotalError: in words, with all files as they were or whole and new.
    """

    def __init__(self, plan: Plan, host: Host, emit: Emit, control: Control, ranks: Ranks | None = None):
        self.plan, self.host, self.emit, self.control = plan, host, emit, control
        self.ranks = ranks or Alone()
        self.config = plan.config
        self.folders = host.folders()
        self.paths: RunPaths = run_paths(self.folders, plan.config.name)
        self._taken = False  # whether the host has changed the lent model
        self._leaves = False  # for a pause
        self._kept = Kept(step=plan.state.facts["progress"]["step"] if plan.state else 0)

    def go(self) -> Outcome:
        """The whole run, in the calling thread."""
        self.paths.folder.mkdir(parents=True, exist_ok=True)
        resumed = self.plan.state is not None
        ledger = Ledger(self.paths.ledger, resumed=resumed)
        with (journal(self.paths.journal, self.emit) as told,
              logs(self.config, self.paths, told, resumed=resumed) as logged):
            self.emit = ledger.watching(Watching(logged, self.config.embeddings))
            self.saving = Saving(self.plan, self.host, self.paths, self.emit, self.control, ledger)
            return self._go()

    def _go(self) -> Outcome:
        started = time.monotonic()
        remove_leftovers(self.folders.embeddings)
        for folder in (self.paths.folder, self.folders.loras):
            remove_leftovers(folder, deep=True)
        for key, text in self.plan.notices.items():
            self.emit(Noticed(text, key))
        write_text(self.paths.run_file, dump_run(self.config))
        outcome = self._trained()
        # The model is given back by now: however long a full disk keeps us, the host can generate.
        written = [] if self.control.discard.is_set() else self._saved(outcome)
        if self.control.discard.is_set():  # perhaps asked for while the result was written
            self.saving.discard()
            written, outcome = [], replace(outcome, files=(), stopped=True)
        seconds = time.monotonic() - started - self._kept.seconds
        self.emit(Finished(outcome.step, seconds, outcome.loss, tuple(written), outcome.stopped))
        return outcome

    def _saved(self, outcome: Outcome) -> list[Path]:
        self.emit(Phase("saving"))
        try:
            written = self.saving.save(outcome.files, outcome.step, final=True)
        except TrainingError:
            if not self.control.discard.is_set():
                raise
            return []
        self.saving.tell_prompt_words(outcome.files)
        return written

    def _trained(self) -> Outcome:
        """Borrows the model until the run is over; each pause gives it back."""
        while True:
            self.emit(Phase("waiting"))
            try:
                outcome = self.host.run(self._borrowed)
            except HostError as error:
                if not self._kept.pauses or self.control.stop.is_set():
                    raise
                self.emit(Noticed(f"The run stays paused: {error}", "checkpoint"))
                self.control.pause.set()
                outcome = None
            if outcome is not None:
                return outcome
            self._pause()
            if self.control.discard.is_set():
                return Outcome((), self._kept.step, None, True, {})

    def _pause(self) -> None:
        """Waits, with nothing on the device, until the run is resumed or stopped."""
        empty_device()
        self.emit(Paused(self._kept.step))
        began = time.monotonic()
        self.control.wait_for_resume()
        self._kept.seconds += time.monotonic() - began
        self._leaves = False
        self._kept.pauses += 1
        if self._kept.state is not None:
            self.plan = replace(self.plan, state=self._kept.state)
        self.emit(Resumed(self._kept.step))

    def _borrowed(self) -> Outcome | None:
        """The run on the lent model; None when it leaves it for a pause."""
        self.emit(Phase("loading"))
        with self.host.borrow(self._kept.checkpoint_for(self.config, self.host)) as lent:
            model = prepare_model(lent, self.config)
            trainees = make_trainees(self.config, self.plan.base, model)
            with Attached(trainees.networks) as attached:
                return self._train(model, trainees, attached)

    def _train(self, model: DiffusionModel, trainees: Trainees, attached: Attached) -> Outcome | None:
        if not self._kept.pauses:
            self._tell_plan(model)
        batches = make_batches(self.plan.captions, self.config, model, trainees.counts(), self.folders.scratch,
                               emit=self._emit_anew, stopped=self._breaks_off, memory=self._kept.images)
        if batches is None:
            return None if self._leaves else Outcome((), 0, None, True, {})
        with batches, self._held_out(model, trainees) as held_out:
            self._make_room(batches, held_out)
            return self._train_on(batches, held_out, model, trainees, attached)

    def _tell_plan(self, model: DiffusionModel) -> None:
        self.emit(planned(self.plan.captions, self.plan.measured, self.config, model.resolution))
        for key, text in image_notices(self.config, self.plan.captions, model.resolution).items():
            self.emit(Noticed(text, key))

    def _emit_anew(self, event: Event) -> None:
        """After a pause, notices have been told."""
        if not (self._kept.pauses and isinstance(event, Noticed)):
            self.emit(event)

    def _make_room(self, *of_run: DatasetBatches | None) -> None:
        in_use = {path for batches in of_run if batches is not None for path in batches.kept_files()}
        told = make_room(self.config.cache, self.folders.scratch, in_use)
        if told is not None:
            self.emit(told)

    def _train_on(self, batches: DatasetBatches, held_out: DatasetBatches | None, model: DiffusionModel, trainees: Trainees,
                  attached: Attached) -> Outcome | None:
        insights = Insights(trainees, model, self.emit)
        session = make_session(self.plan, model, trainees, batches, attached.lifted, self.ranks,
                               self.folders.scratch)
        self._announce(session)
        measuring = self._measuring(session, held_out)
        if measuring:
            self._kept.error_before = measuring.before(self._kept.error_before)
        metrics = {"error_before": self._kept.error_before} if measuring else {}
        previews = Previews(self.config, self.plan.captions, model, trainees, self.paths, self.emit)
        outputs = Outputs(self.plan, self.host, model, trainees)
        previews.last = self._kept.preview
        stopped = self._loop(session, previews, outputs, attached, measuring, insights)
        insights.tell(session)
        if self.control.discard.is_set():
            return Outcome((), session.progress.step, session.progress.smooth_loss, True, metrics)
        self.saving.keep_state(session)
        if self._leaves and stopped:
            self._kept.take(state_of(session, self.config), session.progress.step, previews.last)
            return None
        if not session.progress.step:  # nothing is learned, and an older file of that name shall stay
            return Outcome((), 0, None, stopped, metrics)
        tell_losses(session.record, self.plan.captions, self.paths, self.emit)
        with self._result(session) as step:
            if measuring and not self._should_stop():
                metrics["error_after"] = measuring.after_run()
            files = outputs.make(step, final=True)
        if self.config.save.ema == "both" and session.has_ema:
            with session.averaged(ema=False):
                files += outputs.make(session.progress.step, mark="raw")
        return Outcome(self._with_preview(files, previews), session.progress.step, session.progress.smooth_loss, stopped,
                       metrics)

    @contextmanager
    def _result(self, session: Session) -> Iterator[int]:
        """While it lasts, the parts have the values that are the run's result; of which step."""
        best = session.best
        if best.kept:  # only where the run asks for it
            if best.step != session.progress.step:
                self.emit(Noticed(f"The result is that of step {best.step}, the best measured one (error {best.error:.4g})."))
            with best.in_place():
                yield best.step
            return
        with session.averaged(ema=self.config.save.ema != "last"):
            yield session.progress.step

    def _with_preview(self, files: list[Artifact], previews: Previews) -> list[Artifact]:
        network = next((file.path for file in files if file.kind == "network"), None)
        if network is None or previews.last is None or not self.config.save.cards:
            return files
        try:
            return [*files, preview_of(network, previews.last)]
        except OSError as error:
            self.emit(Noticed(f"The card gets no picture ({reason(error)})."))
            return files

    def _announce(self, session: Session) -> None:
        if self._kept.state is None:
            checkpoint = self.host.checkpoint()
            self._kept.checkpoint = checkpoint.name if checkpoint else ""
            batch = self.config.batch.size * self.config.batch.accumulation
            self.emit(Started(self.config.length.steps, len(self.plan.captions.items), batch, self._kept.checkpoint,
                              session.progress.step, self.config.length.minutes, session.progress.seconds))
        self.emit(Phase("training"))

    def _loop(self, session: Session, previews: Previews, outputs: Outputs, attached: Attached,
              measuring: Measuring | None, insights: Insights) -> bool:
        after_step = AfterStep(self.config, session, self.saving, outputs, previews, measuring, self.host, attached,
                               self.control, self._should_stop, insights)

        def should_stop() -> bool:
            after = self.control.stop_after_steps
            return (self._should_stop() or (after is not None and session.progress.step >= after)
                    or self._taken_away() or self._pause_asked())

        begins = session.progress.step == 0 and self._kept.state is None
        if begins and (self.config.samples.every_steps or self.config.samples.every_epochs):
            previews.draw(session, self._should_stop)
        try:
            return train(session, self.emit, after_step=after_step, should_stop=should_stop,
                         is_enough=lambda: measuring is not None and measuring.is_enough())
        except (TrainingError, DatasetError, RuntimeError, MemoryError) as error:
            if session.is_whole and (isinstance(error, (TrainingError, DatasetError)) or is_out_of_memory(error)):
                self.saving.keep_state(session)  # the weights are those before the step that failed
            raise

    def _should_stop(self) -> bool:
        return self.control.stop.is_set() or self._taken or self.host.stop_requested()

    def _pause_asked(self) -> bool:
        # Kept, as Resume may be pressed before the model is given back: then the pause is over at once.
        self._leaves = self._leaves or self.control.pause.is_set()
        return self._leaves

    def _breaks_off(self) -> bool:
        """Whether no more images are to be encoded. A Stop after a pause is to write what was learned before it."""
        return (self._kept.state is None and self._should_stop()) or self._pause_asked()

    def _taken_away(self) -> bool:
        """Whether the host did something to the model: then not one step more, and what was learned is kept."""
        change = self.host.changed()
        if change is not None:
            self._taken = True
            self.emit(Noticed(f"{change} The run ends here and keeps what it has learned."))
        return self._taken

    def _held_out(self, model: DiffusionModel, trainees: Trainees) -> AbstractContextManager[DatasetBatches | None]:
        """Batches of the images that are only measured on, one image each, so that each comes once; None where none are."""
        if self.plan.measured is self.plan.captions or not self.config.measure.images:
            return nullcontext()
        single = replace(self.config, batch=replace(self.config.batch, size=1))

        def emit(event: Event) -> None:
            if not isinstance(event, Noticed):  # of the cache was told with the images that are trained on
                self.emit(event)

        found = make_batches(self.plan.measured, single, model, trainees.counts(), self.folders.scratch, emit=emit,
                             stopped=lambda: False, memory=self._kept.held_out)
        return nullcontext() if found is None else found

    def _measuring(self, session: Session, held_out: DatasetBatches | None) -> Measuring | None:
        if not self.config.measure.images:
            return None
        batches = session.batches if held_out is None else held_out
        return Measuring(session, self.config.measure, batches, self.plan.measured, self.emit, held_out=held_out is not None)
