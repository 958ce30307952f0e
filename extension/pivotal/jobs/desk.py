"""Takes runs in, one at a time, and shows how they fare."""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from pivotal.errors import OptionError, PivotalError
from pivotal.events import Emit, Event, Failed, Planned, StepDone
from pivotal.hosts.progress import ShowsProgress
from pivotal.hosts.protocol import Host
from pivotal.jobs.checks.plan import Plan, make_plan, planned_run
from pivotal.jobs.comparison.comparisons import Comparisons
from pivotal.jobs.control import Control
from pivotal.jobs.dataset_plan import usual_resolution
from pivotal.jobs.memory import is_out_of_memory, let_go, out_of_memory
from pivotal.jobs.outcome import Outcome
from pivotal.jobs.outlook.outlook import Outlooks
from pivotal.jobs.queue.queue import RunQueue
from pivotal.jobs.runner import Run
from pivotal.jobs.saving import reason
from pivotal.jobs.watch.recent import Recent
from pivotal.jobs.watch.view import JobView, State, fold, words
from pivotal.tools.dataset.datasets import Datasets
from pivotal.training.ranks import Ranks

log = logging.getLogger(__name__)


class Desk:
    """One job at a time, in a worker thread of its own, which a closed page does not end."""

    def __init__(self, host: Host):
        self.host = host
        self._shows = host if isinstance(host, ShowsProgress) else None
        self._lock = threading.Lock()
        self._view = JobView()
        self._recent = Recent()
        self._control = Control()
        self._thread: threading.Thread | None = None
        self._other = ""  # what else uses the model, in words
        self.comparisons = Comparisons(host, self.occupy)
        self.datasets = Datasets(host, partial(self.occupy, in_pause=True))
        self.queue = RunQueue(self)
        self.outlooks = Outlooks(host, partial(self.occupy, in_pause=True))

    def check(self, flat: Mapping[str, Any], *, resume: bool = False) -> dict[str, str]:
        """Every problem of a run by key; loads nothing."""
        try:
            make_plan(flat, self.host, resume=resume)
        except OptionError as error:
            return error.problems
        return {}

    def plan(self, flat: Mapping[str, Any]) -> tuple[Planned, dict[str, str]]:
        """What a run would see, and its notices by key; checks everything and starts nothing.

        Raises:
            OptionError: with every problem by key.
        """
        plan = make_plan(flat, self.host)
        return planned_run(plan, self.host), dict(plan.notices)

    def start(self, flat: Mapping[str, Any], *, resume: bool = False) -> str:
        """Starts a run and returns its id.

        Raises:
            OptionError: with every problem by key.
            PivotalError: another run is going on.
        """
        plan = make_plan(flat, self.host, resume=resume)
        with self._lock:
            self._refuse_when_busy()
            identifier = uuid.uuid4().hex[:12]
            self._control = Control()
            self._view = JobView(id=identifier, name=plan.config.name, state="running", of=plan.config.length.steps,
                                 version=self._view.version + 1)
            self._recent.begin(identifier)
            self._thread = threading.Thread(target=self._work, args=(plan, self._control), name="pivotal-train",
                                            daemon=True)
            self._thread.start()
        return identifier

    def occupy(self, what: str, *, in_pause: bool = False) -> Callable[[], None]:
        """Keeps runs out, for other work on the model, until what it returns is called.

        Args:
            what: the work, as a sentence begins.
            in_pause: whether it may be done while a run is paused, which is not resumed before its end.

        Raises:
            PivotalError: a run, or other work, is going on.
        """
        with self._lock:
            control = self._control
            if self._other or not (in_pause and self._view.state == "paused" and control.pause.is_set()):
                self._refuse_when_busy()
            self._other = what
            control.lent.set()

        def vacate() -> None:
            with self._lock:  # else whoever comes next might be let in between the two, and its mark be taken off
                self._other = ""
                control.lent.clear()

        return vacate

    @property
    def busy(self) -> bool:
        """Whether a run, or other work on the model, is going on."""
        return self.is_training or bool(self._other)

    @property
    def is_training(self) -> bool:
        """Whether a run is going on."""
        return self._thread is not None and self._thread.is_alive()

    def _refuse_when_busy(self) -> None:
        self._refuse_beside_other()
        if self.is_training:
            what = "paused; resume or stop it" if self._view.state == "paused" else "being trained; stop it or wait for its end"
            raise PivotalError(f"{self._view.name!r} is {what}.")

    def _refuse_beside_other(self) -> None:
        if self._other:
            raise PivotalError(f"{self._other} is going on; stop it or wait for its end.")

    def stop(self, *, keep: bool = True) -> None:
        """Stops after the current step; a paused run, too.

        Args:
            keep: whether what is learned is written. If not, all that the run wrote is deleted, and the files that it had
                replaced come back.
        """
        with self._lock:
            if self.is_training:
                if not keep:
                    self._control.discard.set()  # before stop, which is what the run looks at
                self._control.stop.set()
                self.comparisons.stop()  # for which a paused run would wait
                self.datasets.leave_the_host()
                self._show("stopping")

    def pause(self) -> None:
        """Gives the model back to the host after the step that goes on; `resume_paused` goes on from there.

        Raises:
            PivotalError: no run is going on, or it is being stopped.
        """
        with self._lock:
            if not self.is_training or self._view.state not in ("running", "pausing", "paused"):
                raise PivotalError("No run is going on that could be paused.")
            if self._view.state == "running":
                self._control.pause.set()
                self._show("pausing")

    def resume_paused(self) -> None:
        """Lets a paused run go on, exactly as if it had not been paused.

        Raises:
            PivotalError: no run is paused.
        """
        with self._lock:
            if not self.is_training or self._view.state not in ("pausing", "paused"):
                raise PivotalError("No run is paused.")
            self._refuse_beside_other()
            self._control.pause.clear()
            self._show("running")

    def _show(self, state: State) -> None:
        self._view = replace(self._view, state=state, version=self._view.version + 1)

    def sample_now(self) -> None:
        """Draws the samples after the step that goes on."""
        self._ask(self._control.sample)

    def save_now(self) -> None:
        """Writes a copy, and the state, after the step that goes on."""
        self._ask(self._control.save)

    def _ask(self, asked: threading.Event) -> None:
        """Raises PivotalError when there is nobody to ask."""
        if not self.is_training:
            raise PivotalError("No run is going on.")
        if self._view.state == "paused":
            raise PivotalError("The run is paused; resume it first.")
        asked.set()

    def view(self) -> JobView:
        """The run as it is now."""
        return self._view

    def events(self, since: int = 0) -> dict[str, Any]:
        """The run's events after number `since`; see `Recent.since`."""
        with self._lock:
            return self._recent.since(since)

    def wait(self, timeout: float | None = None) -> JobView:
        """Waits for the end of the run; the view then."""
        if self._thread is not None:
            self._thread.join(timeout)
        return self._view

    def tell(self, event: Event) -> None:
        """Adds an event to the view and the log."""
        with self._lock:
            self._view = fold(self._view, event)
            self._recent.add(event)
        if self._shows is not None and isinstance(event, StepDone):
            self._shows.show_progress(self._view.step, self._view.of, self._view.seconds)
        line = words(event)
        if line:
            log.info("%s", line)

    def _work(self, plan: Plan, control: Control) -> None:
        try:
            work_through(plan, self.host, self.tell, control)
        except BaseException:  # SystemExit, thrown into the thread: whoever watches would wait for its end for ever
            self.tell(Failed("The run was ended from outside. Resume goes on from its last state, where it wrote one.", {}))
            raise


def work_through(plan: Plan, host: Host, tell: Emit, control: Control, ranks: Ranks | None = None) -> Outcome | None:
    """One of the two doors where every error ends: the traceback goes to the log, its first line to whoever watches.

    Args:
        ranks: the processes that train together; None is this one alone.

    Returns: the run's outcome, or None when it failed.
    """
    try:
        return Run(plan, host, tell, control, ranks).go()
    except OptionError as error:
        tell(Failed(str(error), error.problems))
    except PivotalError as error:
        tell(Failed(str(error), {}))
    except OSError as error:
        log.error("a file could not be used", exc_info=error)
        tell(Failed(f"{error.filename or 'A file'} could not be written or read: {reason(error)}. Mend that and start again, or "
                    "resume where a state was written.", {}))
    except Exception as error:
        if is_out_of_memory(error):
            log.error("out of memory", exc_info=error)
            let_go(error)
            tell(out_of_memory(error, plan.config, usual_resolution(plan.config, host)))
            return None
        log.error("the run failed", exc_info=error)
        tell(Failed(f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no message'} "
                    "(the log has the whole traceback)", {}))
    return None
