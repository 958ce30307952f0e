"""Carries out a plan: borrow, prepare, train, save, refresh."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pivotal.config.files import dump_run
from pivotal.errors import FormatError, TrainingError
from pivotal.events import Emit, Finished, Noticed, Phase, Started
from pivotal.formats.atomic import remove_leftovers, write_text
from pivotal.hosts.protocol import Host
from pivotal.jobs.checks import Plan
from pivotal.jobs.control import Control
from pivotal.jobs.journal import journal
from pivotal.jobs.outputs import Artifact, Outputs, preview_of
from pivotal.jobs.paths import RunPaths, run_paths
from pivotal.jobs.preparation import make_batches, make_session, prepare_model
from pivotal.jobs.previews import Previews
from pivotal.jobs.saving import Saving, reason
from pivotal.jobs.trainees import Attached, Trainees, make_trainees
from pivotal.models.diffusion import DiffusionModel
from pivotal.training.loop import train
from pivotal.training.measure import denoising_error
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
        with journal(self.paths.journal, self.emit) as self.emit:
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
        batches = make_batches(self.plan.captions, self.config, model, trainees.counts(), emit=self.emit,
                               stopped=self._should_stop)
        if batches is None:
            return Outcome((), 0, None, True, {})
        session = make_session(self.plan, model, trainees, batches)
        measure = self._measure(session, trainees)
        metrics = {"error_before": measure()} if measure else {}
        previews = Previews(self.config, self.plan.captions, model, trainees, self.paths, self.emit)
        outputs = Outputs(self.plan, self.host, model, trainees)
        self._announce(session)
        stopped = self._loop(session, previews, outputs, attached)
        self.saving.keep_state(session)
        if not session.progress.step:  # nothing is learned, and an older file of that name shall stay
            return Outcome((), 0, None, stopped, metrics)
        with session.averaged():
            if measure and not self._should_stop():
                metrics["error_after"] = measure()
            files = outputs.make(session.progress.step, final=True)
        return Outcome(self._with_preview(files, previews), session.progress.step, session.progress.smooth_loss, stopped,
                       metrics)

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
        self.emit(Started(self.config.length.steps, session.batches.images, batch,
                          checkpoint.name if checkpoint else "", session.progress.step))
        self.emit(Phase("training"))

    def _loop(self, session: Session, previews: Previews, outputs: Outputs, attached: Attached) -> bool:
        def after_step() -> None:
            step = session.progress.step
            if _due(step, self.config.save.state_every_steps):
                self.saving.keep_state(session)
            if _due(step, self.config.save.every_steps) and step < self.config.length.steps:
                with session.averaged():
                    self._save_copy(outputs, step)
            if _due(step, self.config.samples.every_steps) or step == self.config.length.steps:
                with session.averaged():
                    previews.draw(step, self._should_stop)
            if self.config.sharing.let_prompts_through:
                with attached.lifted():
                    self.host.let_through()

        def should_stop() -> bool:
            after = self.control.stop_after_steps
            return (self._should_stop() or (after is not None and session.progress.step >= after)
                    or self._taken_away())

        if session.progress.step == 0:
            previews.draw(0, self._should_stop)
        try:
            return train(session, self.emit, after_step=after_step, should_stop=should_stop)
        except TrainingError:
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

    def _measure(self, session: Session, trainees: Trainees) -> Callable[[], float] | None:
        images = self.config.measure.images
        if not images:
            return None
        batches = session.batches
        if self.plan.measured is not self.plan.captions:
            batches = make_batches(self.plan.measured, self.config, session.model, trainees.counts(), emit=self.emit,
                                   stopped=lambda: False)
        return lambda: denoising_error(session, batches, min(images, batches.images))

    def _save_copy(self, outputs: Outputs, step: int) -> None:
        try:
            files = outputs.make(step, final=False)
        except FormatError as error:
            self.emit(Noticed(f"No copy of step {step} was written: {error}"))
            return
        self.saving.save_copy(files, step)


def _due(step: int, every: int) -> bool:
    return bool(every) and step % every == 0
