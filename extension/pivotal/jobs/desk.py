"""Takes runs in, one at a time, and shows how they fare."""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch

from pivotal.errors import OptionError, PivotalError
from pivotal.events import Emit, Event, Failed, Planned
from pivotal.hosts.protocol import Host
from pivotal.jobs.checks import Plan, make_plan, planned_run
from pivotal.jobs.control import Control
from pivotal.jobs.runner import Outcome, Run
from pivotal.jobs.view import JobView, fold, words

log = logging.getLogger(__name__)


class Desk:
    """One job at a time, in a worker thread of its own, which a closed page does not end."""

    def __init__(self, host: Host):
        self.host = host
        self._lock = threading.Lock()
        self._view = JobView()
        self._control = Control()
        self._thread: threading.Thread | None = None

    def check(self, flat: Mapping[str, Any]) -> dict[str, str]:
        """Every problem of a run by key; loads nothing."""
        try:
            make_plan(flat, self.host)
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
            if self.busy:
                raise PivotalError(f"{self._view.name!r} is being trained; stop it or wait for its end.")
            identifier = uuid.uuid4().hex[:12]
            self._control = Control()
            self._view = JobView(id=identifier, name=plan.config.name, state="running", of=plan.config.length.steps,
                                 version=self._view.version + 1)
            self._thread = threading.Thread(target=self._work, args=(plan, self._control), name="pivotal-train",
                                            daemon=True)
            self._thread.start()
        return identifier

    @property
    def busy(self) -> bool:
        """Whether a run is going on."""
        return self._thread is not None and self._thread.is_alive()

    def stop(self) -> None:
        """Stops after the current step and keeps what is learned."""
        with self._lock:
            if self.busy:
                self._control.stop.set()
                self._view = replace(self._view, state="stopping", version=self._view.version + 1)

    def sample_now(self) -> None:
        """Draws the samples after the step that goes on."""
        self._ask(self._control.sample)

    def save_now(self) -> None:
        """Writes a copy, and the state, after the step that goes on."""
        self._ask(self._control.save)

    def _ask(self, asked: threading.Event) -> None:
        """Raises PivotalError when there is nobody to ask."""
        if not self.busy:
            raise PivotalError("No run is going on.")
        asked.set()

    def view(self) -> JobView:
        """The run as it is now."""
        return self._view

    def wait(self, timeout: float | None = None) -> JobView:
        """Waits for the end of the run; the view then."""
        if self._thread is not None:
            self._thread.join(timeout)
        return self._view

    def tell(self, event: Event) -> None:
        """Adds an event to the view and the log."""
        with self._lock:
            self._view = fold(self._view, event)
        line = words(event)
        if line:
            log.info("%s", line)

    def _work(self, plan: Plan, control: Control) -> None:
        work_through(plan, self.host, self.tell, control)


def work_through(plan: Plan, host: Host, tell: Emit, control: Control) -> Outcome | None:
    """One of the two doors where every error ends: the traceback goes to the log, its first line to whoever watches.

    Returns: the run's outcome, or None when it failed.
    """
    try:
        return Run(plan, host, tell, control).go()
    except OptionError as error:
        tell(Failed(str(error), error.problems))
    except PivotalError as error:
        tell(Failed(str(error), {}))
    except torch.cuda.OutOfMemoryError as error:
        log.error("out of memory", exc_info=error)
        torch.cuda.empty_cache()
        tell(Failed("The device ran out of memory. A smaller batch, gradient checkpointing or a smaller resolution needs "
                    "less.", {"batch.size": "too much for the device's memory"}))
    except Exception as error:
        log.error("the run failed", exc_info=error)
        tell(Failed(f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no message'} "
                    "(the log has the whole traceback)", {}))
    return None
