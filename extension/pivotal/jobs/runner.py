"""Carries out a plan: trains, as often as pauses part the run, saves, tells."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

from pivotal.config.files import dump_run
from pivotal.errors import HostError, TrainingError
from pivotal.events import Emit, Finished, Noticed, Paused, Phase, Resumed
from pivotal.formats.atomic import remove_leftovers, write_text
from pivotal.hosts.protocol import Host
from pivotal.jobs.checks.plan import Plan
from pivotal.jobs.control import Control
from pivotal.jobs.ledger import Ledger
from pivotal.jobs.logs.journal import journal
from pivotal.jobs.logs.run_logs import logs
from pivotal.jobs.memory import empty_device
from pivotal.jobs.outcome import Outcome
from pivotal.jobs.paths import RunPaths, run_paths
from pivotal.jobs.pausing import Kept
from pivotal.jobs.saving import Saving
from pivotal.jobs.stretch import Stretch
from pivotal.jobs.watch.watching import Watching
from pivotal.training.ranks import Alone, Ranks


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
            stretch = self._stretch()
            try:
                self.host.run(stretch.go)
            except HostError as error:
                self._mind(error, stretch.outcome)
            if stretch.outcome is not None:
                return stretch.outcome
            self._pause()
            if self.control.discard.is_set():
                return Outcome(step=self._kept.step, stopped=True)

    def _mind(self, error: HostError, outcome: Outcome | None) -> None:
        """What the host could not do costs nothing that was learned before; it is raised where nothing was.

        Args:
            outcome: of the stretch that is over; then it was to take its model back.
        """
        if outcome is not None:
            self.emit(Noticed(f"{error} What the run has learned is written all the same.", "checkpoint"))
        elif self.control.stop.is_set() or not (self._kept.pauses or self._kept.state):
            raise error
        else:
            self.emit(Noticed(f"The run stays paused: {error}", "checkpoint"))
            self.control.pause.set()

    def _stretch(self) -> Stretch:
        return Stretch(self.plan, self.host, self.emit, self.control, self.ranks, self.paths, self.saving, self._kept)

    def _pause(self) -> None:
        """Waits, with nothing on the device, until the run is resumed or stopped."""
        empty_device()
        self.emit(Paused(self._kept.step))
        began = time.monotonic()
        self.control.wait_for_resume()
        self._kept.seconds += time.monotonic() - began
        self._kept.pauses += 1
        if self._kept.state is not None:
            self.plan = replace(self.plan, state=self._kept.state)
        self.emit(Resumed(self._kept.step))
