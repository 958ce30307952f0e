"""Carries out a plan: borrow, prepare, train, save, refresh."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace

from pivotal.config.files import dump_run
from pivotal.errors import DatasetError, TrainingError
from pivotal.events import Emit, Event, Finished, Noticed, Phase, Started
from pivotal.formats.atomic import remove_leftovers, write_text
from pivotal.hosts.protocol import Host
from pivotal.jobs.after_step import AfterStep
from pivotal.jobs.batches import DatasetBatches
from pivotal.jobs.checks import Plan
from pivotal.jobs.control import Control
from pivotal.jobs.dataset_plan import planned
from pivotal.jobs.image_checks import image_notices
from pivotal.jobs.image_losses import tell_losses
from pivotal.jobs.journal import journal
from pivotal.jobs.logs import logs
from pivotal.jobs.measuring import Measuring
from pivotal.jobs.outputs import Artifact, Outputs, preview_of
from pivotal.jobs.paths import RunPaths, run_paths
from pivotal.jobs.preparation import make_batches, make_session, prepare_model
from pivotal.jobs.previews import Previews
from pivotal.jobs.saving import Saving, reason
from pivotal.jobs.trainees import Attached, Trainees, make_trainees
from pivotal.models.diffusion import DiffusionModel
from pivotal.training.loop import train
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

    def __init__(self, plan: Plan, host: Host, emit: Emit, control: Control):
        self.plan, self.host, self.emit, self.control = plan, host, emit, control
        self.config = plan.config
        self.folders = host.folders()
        self.paths: RunPaths = run_paths(self.folders, plan.config.name)
        self._taken = False  # whether the host has changed the lent model

    def go(self) -> Outcome:
        """The whole run, in the calling thread."""
        self.paths.folder.mkdir(parents=True, exist_ok=True)
        with (journal(self.paths.journal, self.emit) as told,
              logs(self.config, self.paths, told, resumed=self.plan.state is not None) as self.emit):
            self.saving = Saving(self.plan, self.host, self.paths, self.emit, self.control)
            return self._go()

    def _go(self) -> Outcome:
        started = time.monotonic()
        for folder in (self.paths.folder, self.folders.embeddings, self.folders.loras):
            remove_leftovers(folder)
        for key, text in self.plan.notices.items():
            self.emit(Noticed(text, key))
        write_text(self.paths.run_file, dump_run(self.config))
        self.emit(Phase("waiting"))
        outcome = self.host.run(self._borrowed)
        # The model is given back by now: however long a full disk keeps us, the host can generate.
        self.emit(Phase("saving"))
        written = self.saving.save(outcome.files, outcome.step, final=True)
        self.saving.tell_prompt_words(outcome.files)
        self.emit(Finished(outcome.step, time.monotonic() - started, outcome.loss, tuple(written), outcome.stopped))
        return outcome

    def _borrowed(self) -> Outcome:
        self.emit(Phase("loading"))
        with self.host.borrow(self.config.checkpoint) as lent:
            model = prepare_model(lent, self.config)
            trainees = make_trainees(self.config, self.plan.base, model)
            with Attached(trainees.networks) as attached:
                return self._train(model, trainees, attached)

    def _train(self, model: DiffusionModel, trainees: Trainees, attached: Attached) -> Outcome:
        self.emit(planned(self.plan.captions, self.config, model.resolution))
        for key, text in image_notices(self.config, self.plan.captions, model.resolution).items():
            self.emit(Noticed(text, key))
        batches = make_batches(self.plan.captions, self.config, model, trainees.counts(), self.folders.scratch,
                               emit=self.emit, stopped=self._should_stop)
        if batches is None:
            return Outcome((), 0, None, True, {})
        with batches, self._held_out(model, trainees) as held_out:
            return self._train_on(batches, held_out, model, trainees, attached)

    def _train_on(self, batches: DatasetBatches, held_out: DatasetBatches | None, model: DiffusionModel, trainees: Trainees,
                  attached: Attached) -> Outcome:
        session = make_session(self.plan, model, trainees, batches, attached.lifted)
        self._announce(session)
        measuring = self._measuring(session, held_out)
        metrics = {"error_before": measuring.before()} if measuring else {}
        previews = Previews(self.config, self.plan.captions, model, trainees, self.paths, self.emit)
        outputs = Outputs(self.plan, self.host, model, trainees)
        stopped = self._loop(session, previews, outputs, attached, measuring)
        self.saving.keep_state(session)
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
        checkpoint = self.host.checkpoint()
        batch = self.config.batch.size * self.config.batch.accumulation
        self.emit(Started(self.config.length.steps, len(self.plan.captions.items), batch,
                          checkpoint.name if checkpoint else "", session.progress.step))
        self.emit(Phase("training"))

    def _loop(self, session: Session, previews: Previews, outputs: Outputs, attached: Attached,
              measuring: Measuring | None) -> bool:
        after_step = AfterStep(self.config, session, self.saving, outputs, previews, measuring, self.host, attached,
                               self.control, self._should_stop)

        def should_stop() -> bool:
            after = self.control.stop_after_steps
            return (self._should_stop() or (after is not None and session.progress.step >= after)
                    or self._taken_away())

        if session.progress.step == 0 and (self.config.samples.every_steps or self.config.samples.every_epochs):
            previews.draw(session, self._should_stop)
        try:
            return train(session, self.emit, after_step=after_step, should_stop=should_stop,
                         is_enough=lambda: measuring is not None and measuring.is_enough())
        except (TrainingError, DatasetError):
            self.saving.keep_state(session)  # the weights are those before the step that failed
            raise

    def _should_stop(self) -> bool:
        return self.control.stop.is_set() or self._taken or self.host.stop_requested()

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
                             stopped=lambda: False)
        return nullcontext() if found is None else found

    def _measuring(self, session: Session, held_out: DatasetBatches | None) -> Measuring | None:
        if not self.config.measure.images:
            return None
        batches = session.batches if held_out is None else held_out
        return Measuring(session, self.config.measure, batches, self.plan.measured, self.emit, held_out=held_out is not None)
