"""The queue: every run goes through it, one at a time, and all of them are remembered."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pivotal.errors import OptionError, PivotalError, QueueError
from pivotal.jobs.paths import run_paths
from pivotal.jobs.queue.clashes import free_name, name_problem, placeholder_notice
from pivotal.jobs.queue.entries import Entry, name_of, new_id, now
from pivotal.jobs.queue.lease import Lease
from pivotal.jobs.queue.over import spread
from pivotal.jobs.queue.store import Store
from pivotal.jobs.queue.worker import Carrier, Worker

log = logging.getLogger(__name__)


class RunQueue:
    """Takes runs in and hands them to the desk, one after the other; all methods may be called from any thread."""

    def __init__(self, desk: Carrier):
        self.desk = desk
        self._adding = threading.Lock()  # of two runs that get one name at once, one is refused
        self._making = threading.Lock()
        self._worker: Worker | None = None

    @property
    def worker(self) -> Worker:
        """Takes the next run when one has ended; made when it is first needed, as a host may lack its folders."""
        with self._making:
            if self._worker is None:
                scratch = self.desk.host.folders().scratch
                self._worker = Worker(self.desk, Store(scratch / "queue.sqlite"), Lease(scratch / "queue.lock"))
            return self._worker

    @property
    def store(self) -> Store:
        """The file of all runs."""
        return self.worker.store

    # -- starting and adding

    def train(self, flat: Mapping[str, Any], *, resume: bool = False) -> str:
        """Starts a run at once where nothing runs; else adds it, and the queue goes on with it. What to tell of it.

        Raises:
            OptionError: with every problem by key; also when a run of this name is there already.
            PivotalError: the device is used for something else.
        """
        if not self.desk.is_training:
            try:
                return self.worker.begin(flat, resume=resume)[1]
            except PivotalError:
                if not self.desk.is_training:  # else another press was quicker
                    raise
        (entry,), notices = self.add([flat], resume=resume)
        try:
            self.start()
        except QueueError as error:  # of another process; it takes the run
            notices.append(str(error))
        return " ".join([f"Added to the queue: {entry.name!r} begins when those before it are done.", *notices])

    def begin(self, flat: Mapping[str, Any], *, resume: bool = False) -> str:
        """Starts a run at once and returns the desk's id of it; the history has it, too.

        Raises:
            OptionError: with every problem by key.
            PivotalError: another run is going on.
        """
        return self.worker.begin(flat, resume=resume)[0]

    def add(self, flats: Sequence[Mapping[str, Any]], *, resume: bool = False, titles: Sequence[str] = (),
            ) -> tuple[list[Entry], list[str]]:
        """Adds runs behind those that wait, all of them or none; the runs, and what is allowed and perhaps not meant.

        A run that names no checkpoint gets the one that is loaded now: another may be when its turn comes.

        Args:
            titles: a name for each, put before the keys of its problems.

        Raises:
            OptionError: every problem of every run, by key.
            QueueError: the file cannot be used now.
        """
        with self._adding:
            made, notices = self._checked(flats, resume, titles)
            self.store.add(made)
        return made, notices

    def _checked(self, flats: Sequence[Mapping[str, Any]], resume: bool, titles: Sequence[str],
                 ) -> tuple[list[Entry], list[str]]:
        others = self.worker.open_runs()
        problems: dict[str, str] = {}
        made, notices = [], []
        for index, flat in enumerate(flats):
            found, entry = self._made(flat, others, resume)
            head = f"{titles[index]}: " if titles else ""
            problems |= {head + key: text for key, text in found.items()}
            notice = placeholder_notice(entry.options, others)
            notices += [head + notice] if notice else []
            others.append(entry)
            made.append(entry)
        if problems:
            raise OptionError(problems)
        return made, notices

    def add_over(self, flat: Mapping[str, Any], folders: Sequence[Path], *, name: str = "{folder}",
                 placeholder: str = "{folder}") -> tuple[list[Entry], list[str]]:
        """The same recipe for each folder (see over.spread); all are checked before any is added.

        Raises:
            OptionError: every problem of every folder, its name before the option's key.
        """
        runs = spread(flat, folders, name, placeholder)
        return self.add([made for _, made in runs], titles=[folder.name for folder, _ in runs])

    def _made(self, flat: Mapping[str, Any], others: Sequence[Entry], resume: bool) -> tuple[dict[str, str], Entry]:
        """The problems of a run that is to wait, and the entry that it would be."""
        options = self._pinned(flat)
        name = name_of(options)
        problems = self.desk.check(options, resume=resume)
        taken = name_problem(name, others)
        if taken:
            problems.setdefault("name", taken)
        folder = run_paths(self.desk.host.folders(), name).folder
        return problems, Entry(new_id(), name, options, resume=resume, created=now(), folder=str(folder))

    def _pinned(self, flat: Mapping[str, Any]) -> dict[str, Any]:
        host, options = self.desk.host, dict(flat)
        loaded = host.checkpoint()
        if not options.get("checkpoint") and loaded is not None and loaded.name in host.checkpoints():
            options["checkpoint"] = loaded.name
        return options

    # -- changing

    def edit(self, identifier: str, flat: Mapping[str, Any]) -> tuple[Entry, list[str]]:
        """Gives a waiting run other options; its place stays.

        Raises:
            OptionError: with every problem by key.
            QueueError: it does not wait any more.
        """
        with self._adding:
            old = self.store.get(identifier)
            others = [entry for entry in self.worker.open_runs() if entry.id != identifier]
            problems, made = self._made(flat, others, old.resume)
            if problems:
                raise OptionError(problems)
            entry = self.store.change(identifier, expected=("waiting",), name=made.name, options=made.options,
                                      folder=made.folder)
        notice = placeholder_notice(made.options, others)
        return entry, [notice] if notice else []

    def duplicate(self, identifier: str, name: str = "") -> tuple[Entry, list[str]]:
        """Adds a run of the same options behind the others, under `name` or one with a number behind it.

        Raises:
            OptionError: with every problem by key.
        """
        old = self.store.get(identifier)
        given = name.strip() or free_name(old.name, self.worker.open_runs())
        entries, notices = self.add([{**old.options, "name": given}])
        return entries[0], notices

    def retry(self, identifier: str, *, resume: bool | None = None) -> Entry:
        """Puts a run that is over before all that wait, and starts it where nothing runs.

        Args:
            resume: goes on from its state, or begins anew; None goes on where there is a state.

        Raises:
            OptionError: its options have problems now, or a run of its name waits.
            QueueError: it is not over, or nothing is there to go on from.
        """
        with self._adding:
            entry = self._waiting_again(identifier, resume)
        if not self.desk.busy:
            self.worker.begin_waiting()
        return entry

    def _waiting_again(self, identifier: str, resume: bool | None) -> Entry:
        entry = self.store.get(identifier)
        goes_on = self.has_state(entry) if resume is None else resume
        if entry.state == "finished" and goes_on:
            goes_on = False
            if resume:
                raise QueueError(f"{entry.name!r} is finished; nothing is left to go on with.")
        others = [other for other in self.worker.open_runs() if other.id != identifier]
        problems = self.desk.check(entry.options, resume=goes_on)
        taken = name_problem(entry.name, others)
        if taken:
            problems.setdefault("name", taken)
        if problems:
            raise OptionError(problems)
        anew = {} if goes_on else {"step": 0, "of": 0, "loss": None, "log": (), "files": ()}
        return self.store.change(identifier, expected=("interrupted", "stopped", "failed", "finished"), state="waiting",
                                 resume=goes_on, message="", problems={}, started="", ended="", journal_to=None, **anew)

    def has_state(self, entry: Entry) -> bool:
        """Whether a run may go on where it was left."""
        return run_paths(self.desk.host.folders(), entry.name).state.is_file()

    # -- working

    def start(self) -> None:
        """Works the queue until it is empty: takes the next run whenever none is going on.

        Raises:
            QueueError: another process works it, or the file cannot be used.
        """
        self.worker.start()

    def pause(self) -> None:
        """Takes no further run; the one that is going on goes on."""
        self.worker.pause()

    def close(self, seconds: float) -> None:
        """At the end of the program: stops the run, keeps what it has learned, and notes that it was interrupted."""
        self.worker.close(seconds)

    def recover(self) -> None:
        """Marks runs whose process is gone as interrupted; for the start of the program. Does nothing where it cannot."""
        try:
            self.worker.recover()
        except QueueError as error:
            log.warning("%s", error)

    @property
    def notice(self) -> str:
        """What the user should know of the queue itself, in words; empty when there is nothing."""
        return self.store.database.notice

    def current(self) -> Entry | None:
        """The run that goes on in this process, as it is now; None when there is none, or it is not in the history."""
        entry, view = self.worker.current, self.desk.view()
        if entry is None or view.id != entry.run:
            return None
        state = "paused" if view.state == "paused" else "running"
        return replace(entry, state=state, step=view.step, of=view.of, loss=view.smooth_loss)
