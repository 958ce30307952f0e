"""Takes the next run when one has ended, and writes down what became of each."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Protocol

from pivotal.errors import OptionError, PivotalError, QueueError
from pivotal.hosts.protocol import Host
from pivotal.jobs.paths import run_paths
from pivotal.jobs.queue.entries import Entry, name_of, new_id, now
from pivotal.jobs.queue.journals import ending_of, journal_size, size_of
from pivotal.jobs.queue.lease import Lease
from pivotal.jobs.queue.store import NoSuchRun, Store
from pivotal.jobs.watch.view import JobView

log = logging.getLogger(__name__)

TICK_S, NOTED_EVERY_S = 0.25, 5.0
OTHER = "Another WebUI, or install.py queue work, works the queue of this data folder; it takes the runs that you add."


class Carrier(Protocol):
    """What the queue needs of the desk."""

    host: Host

    @property
    def is_training(self) -> bool: ...
    @property
    def busy(self) -> bool: ...
    def check(self, flat: Mapping[str, Any], *, resume: bool = False) -> dict[str, str]: ...
    def start(self, flat: Mapping[str, Any], *, resume: bool = False) -> str: ...
    def stop(self) -> None: ...
    def view(self) -> JobView: ...
    def wait(self, timeout: float | None = None) -> JobView: ...


class Worker:
    """A thread that lives while there is something to do: a run to watch, or one to take."""

    def __init__(self, desk: Carrier, store: Store, lease: Lease):
        self.desk, self.store, self.lease = desk, store, lease
        self.is_working = False  # whether the next run is taken when this one ends
        self.current: Entry | None = None  # the run that goes on
        self._lock = threading.RLock()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        self._closing = False
        self._noted = 0.0

    def begin(self, flat: Mapping[str, Any], *, resume: bool) -> tuple[str, str]:
        """Starts a run at once: the desk's id of it, and what to say where the history cannot have it."""
        with self._lock:
            trouble = self._noting(lambda: self._follow())
            paths = run_paths(self.desk.host.folders(), name_of(flat))
            begin = journal_size(paths.journal)  # before the run writes into it
            run = self.desk.start(flat, resume=resume)
            trouble = self._noting(lambda: self._follow()) or trouble  # one that ended between the two
            trouble = self._noting(lambda: self._note_begin(flat, run, resume, begin)) or trouble
            return run, f"This run is not in the queue's history. {trouble}" if trouble else ""

    def open_runs(self) -> list[Entry]:
        """What runs and waits; a run that is being started is among them."""
        with self._lock:
            return self.store.open_runs()

    def begin_waiting(self) -> None:
        """Starts the first run that waits, and no other after it.

        Raises:
            QueueError: another process works the queue, or the file cannot be used.
        """
        with self._lock:
            self._need_lease()
            self._follow()
            if self.current is None and not self.desk.busy:
                self._take()
            self._watch()

    def start(self) -> None:
        """Takes runs until none waits.

        Raises:
            QueueError: another process does, or the file cannot be used.
        """
        with self._lock:
            self._need_lease()
            self.is_working = True
            self._watch()

    def pause(self) -> None:
        """Takes no further run."""
        self.is_working = False

    def recover(self) -> None:
        """Marks the runs of a process that is gone, unless another one works the queue now."""
        with self._lock:
            if self.lease.is_held or not self.store.database.path.exists():
                return
            if self._take_lease() and self._thread is None:
                self.lease.release()

    def close(self, seconds: float) -> None:
        """Ends the run and the thread; see RunQueue.close."""
        with self._lock:
            self._closing, self.is_working = True, False
        latest = time.monotonic() + seconds
        self.desk.stop()
        self.desk.wait(seconds)
        self._wake.set()
        self.is_idle(max(latest - time.monotonic(), 1.0))

    def is_idle(self, seconds: float = 0.0) -> bool:
        """Whether nothing runs and nothing is to be taken, after waiting so long for it."""
        thread = self._thread
        if thread is not None:
            thread.join(seconds)
        return self._thread is None

    def _take_lease(self) -> bool:
        """Whether we may work. What is marked as running when nobody works is what a process left when it ended."""
        if self.lease.is_held:
            return True
        if not self.lease.take():
            return False
        try:
            for entry in self.store.open_runs():
                if entry.state != "waiting":
                    self._note_unseen_end(entry)
        except QueueError:
            self.lease.release()
            raise
        return True

    def _need_lease(self) -> None:
        if not self._take_lease():
            raise QueueError(OTHER)

    def _noting(self, work: Callable[[], None]) -> str:
        """Writes something down that must keep no run from starting; what kept it from that, in words."""
        try:
            work()
        except QueueError as error:
            log.warning("%s", error)
            return str(error)
        return ""

    def _note_begin(self, flat: Mapping[str, Any], run: str, resume: bool, journal_from: int) -> None:
        """A run that the desk has begun gets a new entry, or that of the run that is resumed."""
        self.current = None
        self._need_lease()
        view = self.desk.view()
        old = self.store.latest_left(view.name) if resume else None
        if old is not None:
            self.current = self.store.change(old.id, state="running", options=dict(flat), run=run, started=now(), ended="",
                                             message="", problems={}, resume=True, journal_to=None)
        else:
            folder = run_paths(self.desk.host.folders(), view.name).folder
            entry = Entry(new_id(), view.name, dict(flat), "running", resume, now(), now(), run=run, folder=str(folder),
                          of=view.of, journal_from=journal_from)
            self.store.add([entry])
            self.current = entry
        self._watch()

    def _watch(self) -> None:
        self._wake.set()
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="pivotal-queue", daemon=True)
            self._thread.start()

    def _work(self) -> None:
        """The thread: until nothing runs and nothing is to be taken."""
        while True:
            self._wake.wait(TICK_S)
            self._wake.clear()
            with self._lock:
                try:
                    self._turn()
                except QueueError as error:  # the file is in use, or the disk is full: it is tried again
                    if self._complains():
                        log.warning("%s It is tried again.", error)
                except Exception as error:  # as in jobs.desk.work_through: without this thread no run would ever be taken again
                    if self._complains():
                        log.error("the queue could not go on; it is tried again", exc_info=error)
                if self.current is None and not self.is_working:
                    self._thread = None
                    self.lease.release()
                    return

    def _turn(self) -> None:
        self._follow()
        if self.current is None and self.is_working and not self.desk.busy and not self._closing:
            self._take()

    def _follow(self) -> None:
        """Writes down how far the run is, and its end."""
        entry = self.current
        if entry is None:
            return
        training, view = self.desk.is_training, self.desk.view()  # in this order: what has ended is told by now
        if view.id != entry.run:  # another run took its place before we looked
            self._note_unseen_end(entry)
            self.current = None
        elif not training:
            self._note_end(entry, view)
            self.current = None
        elif time.monotonic() - self._noted > NOTED_EVERY_S:
            self._noted = time.monotonic()
            self._kept(entry, state="paused" if view.state == "paused" else "running", step=view.step, of=view.of,
                       loss=view.smooth_loss)

    def _note_unseen_end(self, entry: Entry) -> None:
        self._kept(entry, ended=now(), journal_to=journal_size(entry.journal), **ending_of(entry))

    def _kept(self, entry: Entry, **changes: Any) -> None:
        """Changes an entry, or writes it anew where it was lost with a damaged file."""
        try:
            self.store.change(entry.id, **changes)
        except NoSuchRun:
            self.store.add([replace(entry, **changes)])

    def _note_end(self, entry: Entry, view: JobView) -> None:
        state = view.state if view.state in ("finished", "stopped", "failed") else "stopped"
        interrupted = self._closing and state == "stopped"
        self._kept(
            entry, state="interrupted" if interrupted else state, ended=now(), step=view.step, of=view.of,
            loss=view.smooth_loss, message="The WebUI was closed." if interrupted else view.message, problems=dict(view.problems),
            files=[[str(path), size_of(path)] for path in view.files], log=list(view.log), journal_to=journal_size(entry.journal))

    def _take(self) -> None:
        """Starts the first run that waits; one that has problems now has failed, and the next turn takes another."""
        entry = self.store.take_next()
        if entry is None:
            self.is_working = False
            return
        try:
            run = self.desk.start(entry.options, resume=entry.resume)
        except OptionError as error:
            self._note_refused(entry, "Some options need attention.", error.problems)
        except PivotalError as error:
            if self.desk.busy:  # somebody else was quicker
                self.store.change(entry.id, state="waiting")
            else:
                self._note_refused(entry, str(error), {})
        except Exception as error:  # as in jobs.desk.work_through: whatever it is, those after it must not wait for it
            log.error("the run could not be started", exc_info=error)
            self._note_refused(entry, f"{type(error).__name__} (the log has the whole traceback)", {})
        else:
            self.current, self._noted = replace(entry, run=run), time.monotonic()
            self._kept(entry, run=run, of=self.desk.view().of)
        self._wake.set()

    def _note_refused(self, entry: Entry, message: str, problems: Mapping[str, str]) -> None:
        self._kept(entry, state="failed", ended=now(), message=message, problems=dict(problems))

    def _complains(self) -> bool:
        """Whether a trouble is to be told now, as it may come again at each turn."""
        due = time.monotonic() - self._noted > NOTED_EVERY_S
        if due:
            self._noted = time.monotonic()
        return due
