"""Writes what a run has learned, and makes the host take it up."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from pivotal.errors import FormatError, HostError, TrainingError
from pivotal.events import Emit, Noticed, Saved
from pivotal.formats.atomic import write_bytes
from pivotal.hosts.protocol import Host
from pivotal.jobs.checks.plan import Plan
from pivotal.jobs.control import Control
from pivotal.jobs.ledger import Ledger
from pivotal.jobs.outputs import Artifact, keep_older, save_state
from pivotal.jobs.paths import RunPaths
from pivotal.prompts.placeholders import safe_file_name
from pivotal.training.session import Session

RETRY_SECONDS = 10.0


class Saving:
    """The files of one run on their way to the disk and into the host; tells of each."""

    def __init__(self, plan: Plan, host: Host, paths: RunPaths, emit: Emit, control: Control, ledger: Ledger):
        self.plan, self.config, self.host, self.ledger = plan, plan.config, host, ledger
        self.paths, self.emit, self.control = paths, emit, control
        self._own: set[Path] = set()  # written by this session, so that nobody misses what was in them
        self._copies: list[list[Path]] = []  # of this session, oldest first; nobody else's file is ever deleted

    def keep_state(self, session: Session) -> None:
        """A state that cannot be written costs nothing but itself: the run goes on and says so."""
        try:
            path = save_state(session, self.plan, self.paths)
        except OSError as error:
            self.emit(Noticed(f"The state could not be written ({reason(error)}); the last one is still there."))
            return
        except FormatError as error:
            self.emit(Noticed(f"The state was not written: {error}"))
            return
        self.emit(Saved(session.progress.step, path, "state", False))

    def save(self, files: Sequence[Artifact], step: int, *, final: bool) -> list[Path]:
        """Writes `files`; returns those that hold something trained.

        Raises:
            TrainingError: a result cannot be written, and Stop was pressed or nobody waits.
        """
        written = []
        for file in files:
            if not self._write(file.path, file.data, final):
                continue
            self._own.add(file.path)
            if file.kind != "card":
                self._refresh(file.path)
                self.emit(Saved(step, file.path, file.kind, final, file.prompt))
                written.append(file.path)
        return written

    def save_copy(self, files: Sequence[Artifact], step: int, *, counts: bool = True) -> None:
        """Writes files on the way, and deletes the oldest of this session's that are too many.

        Args:
            counts: False for those that take the place of their last ones.
        """
        written = self.save(files, step, final=False)
        if not counts:
            return
        self._copies.append(written)
        keep = self.config.save.keep_copies
        while keep is not None and len(self._copies) > keep:
            for path in self._copies.pop(0):
                try:
                    path.unlink(missing_ok=True)
                    self.ledger.forget(path)
                except OSError as error:
                    self.emit(Noticed(f"The older copy {path.name} could not be deleted ({reason(error)})."))

    def discard(self) -> None:
        """Takes back all that the run wrote, and has the host see it; tells of it."""
        done = self.ledger.discard()
        for path in (*done.removed, *done.restored):
            if self.paths.folder in path.parents:
                continue
            if path.parent not in (self.host.folders().embeddings, self.host.folders().loras):
                with suppress(OSError):  # beside a network: it goes with its last file
                    path.parent.rmdir()
            with suppress(OSError, HostError):  # some hosts cannot forget a file; they find out by themselves
                self.host.refresh(path)
        self.emit(done)

    def tell_prompt_words(self, files: Sequence[Artifact]) -> None:
        """Says where a word is another than its placeholder, and why a bundled one has a file of its own."""
        for row in self.config.embeddings:
            word = safe_file_name(row.placeholder)
            if row.train and word != row.placeholder:
                self.emit(Noticed(f"{row.placeholder!r} cannot be a file's name everywhere; the word for prompts is {word!r}."))
        own = {file.path.stem for file in files if file.kind == "embedding"}
        if own and self.config.save.bundle and any(file.kind == "network" for file in files):
            why = ("an embedding of that name was there already, which hosts prefer to a bundled one"
                   if self.host.reads_bundles else "this host does not read bundled embeddings")
            self.emit(Noticed(f"{', '.join(sorted(own))}: written as a file of its own, too, as {why}."))

    def _refresh(self, path: Path) -> None:
        try:
            self.host.refresh(path)
        except HostError as error:
            self.emit(Noticed(f"{path.name} is written, but the host could not take it up: {error}"))

    def _write(self, path: Path, data: bytes, final: bool) -> bool:
        """Writes one file; a result is held in memory until there is room for it, or Stop is pressed."""
        if final:
            self.control.stop.clear()  # a Stop that ended the loop shall not give up its result, too
        while True:
            try:
                keeps = self.config.save.existing != "replace" and path not in self._own
                kept = keep_older(path, data, self.paths) if keeps else None
                if kept is not None:
                    self.emit(Noticed(f"The older {path.name} is kept as {kept}."))
                was_own = self.ledger.is_own(path)
                is_theirs = keeps and kept is None and path.exists() and not was_own  # and the same, byte for byte
                write_bytes(path, data)
                if not is_theirs:
                    self.ledger.wrote(path, kept, kept_own=was_own)
                return True
            except OSError as error:
                if not final:
                    self.emit(Noticed(f"{path.name} could not be written ({reason(error)}); the run goes on."))
                    return False
                self.emit(Noticed(f"{path} could not be written: {reason(error)}. What was learned is kept in memory and "
                                  f"written as soon as there is room; Stop gives it up.", "name"))
                gives_up = not self.control.patient or self.control.discard.is_set()
                if gives_up or self.control.stop.wait(RETRY_SECONDS):
                    raise TrainingError(f"{path} could not be written: {reason(error)}. The run's state is "
                                        f"{self.paths.state}; make room and resume.") from error


def reason(error: OSError) -> str:
    """An operating system's error in a few words."""
    if error.errno == errno.ENOSPC:
        return "the disk is full"
    return error.strerror or str(error)
