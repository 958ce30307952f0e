"""One stretch of a run: from the model that the host lends to what was learned on it, or to a pause."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace

from pivotal.errors import DatasetError, TrainingError
from pivotal.events import Emit, Event, Noticed, Phase, Started
from pivotal.hosts.protocol import Host
from pivotal.jobs.after_step import AfterStep
from pivotal.jobs.batches import DatasetBatches
from pivotal.jobs.checks.images import image_notices
from pivotal.jobs.checks.plan import Plan
from pivotal.jobs.control import Control
from pivotal.jobs.dataset_plan import planned
from pivotal.jobs.halting import Halting
from pivotal.jobs.image_losses import tell_losses
from pivotal.jobs.measuring import Measuring
from pivotal.jobs.memory import is_out_of_memory
from pivotal.jobs.outcome import Outcome, result_values, with_preview
from pivotal.jobs.outputs import Outputs
from pivotal.jobs.paths import RunPaths
from pivotal.jobs.pausing import Kept, state_of
from pivotal.jobs.preparation import make_batches, make_room, make_session, prepare_model
from pivotal.jobs.previews import Previews
from pivotal.jobs.saving import Saving
from pivotal.jobs.trainees import Attached, Trainees, make_trainees
from pivotal.jobs.watch.insights import Insights
from pivotal.models.diffusion import DiffusionModel
from pivotal.training.heap import kept_memory
from pivotal.training.loop import train
from pivotal.training.ranks import Ranks
from pivotal.training.session import Session


class Stretch:
    """What `go` does needs the host's model; what it leaves behind does not.

    Args:
        kept: of the stretches before, and for those after.
    """

    def __init__(self, plan: Plan, host: Host, emit: Emit, control: Control, ranks: Ranks, paths: RunPaths, saving: Saving,
                 kept: Kept):
        self.plan, self.host, self.emit, self.control, self.ranks = plan, host, emit, control, ranks
        self.paths, self.saving, self.kept = paths, saving, kept
        self.config, self.scratch = plan.config, host.folders().scratch
        self.halting = Halting(control, host, emit, resumed=kept.state is not None)
        self.outcome: Outcome | None = None  # known before the model is given back, which may fail

    def go(self) -> Outcome | None:
        """The run on the lent model; None when it leaves it for a pause."""
        self.emit(Phase("loading"))
        with self.host.borrow(self.kept.checkpoint_for(self.config, self.host)) as lent:
            model = prepare_model(lent, self.config)
            trainees = make_trainees(self.config, self.plan.base, model)
            with kept_memory(model.device.type), Attached(trainees.networks) as attached:
                self.outcome = self._train(model, trainees, attached)
        return self.outcome

    def _train(self, model: DiffusionModel, trainees: Trainees, attached: Attached) -> Outcome | None:
        if not self.kept.pauses:
            self._tell_plan(model)
        batches = make_batches(self.plan.captions, self.config, model, trainees.counts(), self.scratch, emit=self._emit_anew,
                               stopped=self.halting.encoding, memory=self.kept.images, ranks=self.ranks)
        if batches is None:
            return None if self.halting.leaves else Outcome(stopped=True)
        with batches, self._held_out(model, trainees) as held_out:
            self._make_room(batches, held_out)
            return self._train_on(batches, held_out, model, trainees, attached)

    def _train_on(self, batches: DatasetBatches, held_out: DatasetBatches | None, model: DiffusionModel, trainees: Trainees,
                  attached: Attached) -> Outcome | None:
        insights = Insights(trainees, model, self.emit)
        session = make_session(self.plan, model, trainees, batches, attached.lifted, self.ranks, self.scratch)
        self._announce(session)
        measuring = self._measuring(session, held_out)
        if measuring:
            self.kept.error_before = measuring.before(self.kept.error_before)
        previews = Previews(self.config, self.plan.captions, model, trainees, self.paths, self.emit, self.host)
        previews.last = self.kept.preview
        outputs = Outputs(self.plan, self.host, model, trainees)
        after_step = AfterStep(self.config, session, self.saving, outputs, previews, measuring, self.host, attached, self.control,
                               self.halting.stop, insights)
        stopped = self._loop(session, after_step)
        insights.tell(session)
        return self._outcome(after_step, stopped)

    def _loop(self, session: Session, after_step: AfterStep) -> bool:
        """Steps until the end; whether the run was stopped before it."""
        measuring, samples = after_step.measuring, self.config.samples
        begins = session.progress.step == 0 and self.kept.state is None
        if begins and (samples.every_steps or samples.every_epochs):
            after_step.previews.draw(session, self.halting.stop)
        try:
            return train(session, self.emit, after_step=after_step,
                         should_stop=lambda: self.halting.before_step(session.progress.step),
                         is_enough=lambda: measuring is not None and measuring.is_enough())
        except (TrainingError, DatasetError, RuntimeError, MemoryError) as error:
            if session.is_whole and (isinstance(error, (TrainingError, DatasetError)) or is_out_of_memory(error)):
                self.saving.keep_state(session)  # the weights are those before the step that failed
            raise

    def _outcome(self, run: AfterStep, stopped: bool) -> Outcome | None:
        """What `run` has learned; None when it goes on after a pause."""
        session, save, progress = run.session, self.config.save, run.session.progress
        metrics = {} if run.measuring is None else {"error_before": self.kept.error_before}
        if self.control.discard.is_set():
            return Outcome((), progress.step, progress.smooth_loss, True, metrics)
        self.saving.keep_state(session)
        if self.halting.leaves and stopped:
            self.kept.take(state_of(session, self.config), progress.step, run.previews.last)
            return None
        if not progress.step:  # nothing is learned, and an older file of that name shall stay
            return Outcome(stopped=stopped)
        tell_losses(session.record, self.plan.captions, self.paths, self.emit)
        with result_values(session, save, self.emit) as step:
            if run.measuring and not self.halting.stop():
                metrics["error_after"] = run.measuring.after_run()
            files = run.outputs.make(step, final=True)
        if save.ema == "both" and session.has_ema:
            with session.averaged(ema=False):
                files += run.outputs.make(progress.step, mark="raw")
        if save.cards:
            files = with_preview(files, run.previews.last, self.emit)
        return Outcome(files, progress.step, progress.smooth_loss, stopped, metrics)

    def _tell_plan(self, model: DiffusionModel) -> None:
        self.emit(planned(self.plan.captions, self.plan.measured, self.config, model.resolution))
        for key, text in image_notices(self.config, self.plan.captions, model.resolution).items():
            self.emit(Noticed(text, key))

    def _announce(self, session: Session) -> None:
        if self.kept.state is None:
            checkpoint = self.host.checkpoint()
            self.kept.checkpoint = checkpoint.name if checkpoint else ""
            batch = self.config.batch.size * self.config.batch.accumulation
            self.emit(Started(self.config.length.steps, len(self.plan.captions.items), batch, self.kept.checkpoint,
                              session.progress.step, self.config.length.minutes, session.progress.seconds))
        self.emit(Phase("training"))

    def _emit_anew(self, event: Event) -> None:
        """After a pause, notices have been told."""
        if not (self.kept.pauses and isinstance(event, Noticed)):
            self.emit(event)

    def _make_room(self, *of_run: DatasetBatches | None) -> None:
        in_use = {path for batches in of_run if batches is not None for path in batches.kept_files()}
        told = make_room(self.config.cache, self.scratch, in_use)
        if told is not None:
            self.emit(told)

    def _held_out(self, model: DiffusionModel, trainees: Trainees) -> AbstractContextManager[DatasetBatches | None]:
        """Batches of the images that are only measured on, one image each, so that each comes once; None where none are."""
        if self.plan.measured is self.plan.captions or not self.config.measure.images:
            return nullcontext()
        single = replace(self.config, batch=replace(self.config.batch, size=1))

        def emit(event: Event) -> None:
            if not isinstance(event, Noticed):  # of the cache was told with the images that are trained on
                self.emit(event)

        found = make_batches(self.plan.measured, single, model, trainees.counts(), self.scratch, emit=emit,
                             stopped=lambda: False, memory=self.kept.held_out)
        return nullcontext() if found is None else found

    def _measuring(self, session: Session, held_out: DatasetBatches | None) -> Measuring | None:
        if not self.config.measure.images:
            return None
        batches = session.batches if held_out is None else held_out
        return Measuring(session, self.config.measure, batches, self.plan.measured, self.emit, held_out=held_out is not None)
