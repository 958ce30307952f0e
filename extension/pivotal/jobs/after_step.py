"""What is done between two steps: states, copies, measurements, samples, and whoever waits."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from pivotal.config.train import TrainConfig
from pivotal.errors import FormatError
from pivotal.events import Noticed
from pivotal.hosts.protocol import Host
from pivotal.jobs.control import Control
from pivotal.jobs.measuring import Measuring
from pivotal.jobs.outputs import Artifact, Outputs
from pivotal.jobs.previews import Previews
from pivotal.jobs.rhythm import Rhythm
from pivotal.jobs.saving import Saving
from pivotal.jobs.trainees import Attached
from pivotal.jobs.watch.insights import Insights
from pivotal.training.session import Session


@dataclass(frozen=True)
class AfterStep:
    """Called after each step of a run."""

    config: TrainConfig
    session: Session
    saving: Saving
    outputs: Outputs
    previews: Previews
    measuring: Measuring | None  # None when nothing is measured
    host: Host
    attached: Attached
    control: Control
    should_stop: Callable[[], bool]  # breaks off a drawing
    insights: Insights

    def __call__(self) -> None:
        """Does all that is due after the step that was just done."""
        step, save, samples = self.session.progress.step, self.config.save, self.config.samples
        ended = self.session.clock().ended
        if self.measuring is not None and self.measuring.due():
            self._measure(self.measuring)
        asked = _taken(self.control.save)
        if asked or (self._due(Rhythm(save.every_steps, save.every_epochs, save.every_minutes)) and not ended):
            self._save_copies(step)
        drawn = Rhythm(samples.every_steps, samples.every_epochs)
        if _taken(self.control.sample) or self._due(drawn) or (drawn.is_on and ended):
            self.previews.draw(self.session, self.should_stop)
        self.insights.after_step(self.session)
        # Last: a run that is killed before goes on from the state before, and does the rest of this once more.
        if asked or self._due(Rhythm(save.state_every_steps, minutes=save.state_every_minutes)):
            self.saving.keep_state(self.session)
        if self.config.sharing.let_prompts_through:
            with self.attached.lifted():
                self.host.let_through()

    def _due(self, rhythm: Rhythm) -> bool:
        return rhythm.due(self.session.previous, self.session.clock())

    def _measure(self, measuring: Measuring) -> None:
        with self.session.averaged(ema=self.config.save.ema != "last"):  # the values that would be kept
            if measuring.after_step() and self.config.save.best:
                self._save_copy(self.session.progress.step, "best")

    def _save_copies(self, step: int) -> None:
        """The average, the last step's values, or both as one copy."""
        files: list[Artifact] = []
        try:
            for mark, is_raw in kept_marks(self.session, self.config.save.ema):
                with self.session.averaged(ema=not is_raw):
                    files += self.outputs.make(step, mark=f"{step:06d}-{mark}" if mark else "")
        except FormatError as error:
            self.saving.emit(Noticed(f"No copy of step {step} was written: {error}"))
            return
        self.saving.save_copy(files, step)

    def _save_copy(self, step: int, mark: str) -> None:
        """The values that the parts have now."""
        try:
            files = self.outputs.make(step, mark=mark)
        except FormatError as error:
            self.saving.emit(Noticed(f"No copy of step {step} was written: {error}"))
            return
        self.saving.save_copy(files, step, counts=False)


def kept_marks(session: Session, ema: str) -> list[tuple[str, bool]]:
    """Which values are written: what stands behind the name, and whether they are the last step's in place of the average."""
    if not session.has_ema or ema == "averaged":
        return [("", False)]
    return [("", True)] if ema == "last" else [("", False), ("raw", True)]


def _taken(asked: threading.Event) -> bool:
    """Whether it was asked for; it is not any more."""
    was_set = asked.is_set()
    asked.clear()
    return was_set
