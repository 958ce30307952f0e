"""The queue's SQLite file: opened for a moment, made where it is missing, set aside where it is damaged."""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from pivotal.errors import QueueError

log = logging.getLogger(__name__)

T = TypeVar("T")
VERSION = 1  # of the tables
BUSY_S = 3.0  # how long another program may hold the file before we say so
_TABLES = """
CREATE TABLE runs (
    id TEXT PRIMARY KEY,
    position INTEGER NOT NULL,  -- of waiting runs the order they are taken in, of others the order they were started in
    state TEXT NOT NULL, name TEXT NOT NULL, words TEXT NOT NULL, options TEXT NOT NULL, resume INTEGER NOT NULL,
    created TEXT NOT NULL, started TEXT NOT NULL, ended TEXT NOT NULL, run TEXT NOT NULL, folder TEXT NOT NULL,
    step INTEGER NOT NULL, "of" INTEGER NOT NULL, loss REAL, message TEXT NOT NULL, problems TEXT NOT NULL,
    files TEXT NOT NULL, log TEXT NOT NULL, journal_from INTEGER NOT NULL, journal_to INTEGER
);
CREATE INDEX runs_by_state ON runs (state, position);
CREATE TABLE changes (file TEXT NOT NULL, count INTEGER NOT NULL);
"""


class Damaged(Exception):
    """The file is no queue of ours, or its pages do not fit together."""


class Database:
    """Opens the file anew for each piece of work, so that any thread may ask and the file can be moved in between.

    The journal is SQLite's rollback journal, not its write-ahead log: that needs memory shared between the processes,
    which network drives do not have, and leaves two more files beside this one (sqlite.org/wal.html, "Disadvantages").
    Our own code never opens the file by another way: on POSIX, closing it would end SQLite's locks
    (sqlite.org/howtocorrupt.html, 2.2).
    """

    def __init__(self, path: Path):
        self.path = path
        self.notice = ""  # what the user should know of the file
        self._mending, self._writing = threading.Lock(), threading.Lock()
        self._checked = False

    def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """What `work` finds, seen at one moment.

        Raises:
            QueueError: the file cannot be used now, in words.
        """
        return self._guarded(work, "BEGIN")

    def write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """As `read`, for work that changes something: all of it or nothing."""

        def counted(connection: sqlite3.Connection) -> T:
            done = work(connection)
            connection.execute("UPDATE changes SET count = count + 1")
            return done

        with self._writing:  # threads of ours wait here, which is quicker than SQLite's looking again and again
            return self._guarded(counted, "BEGIN IMMEDIATE")

    def revision(self) -> str:
        """Changes with every `write` of whatever process."""
        file, count = self.read(lambda connection: connection.execute("SELECT file, count FROM changes").fetchone())
        return f"{file}:{count}"

    def _guarded(self, work: Callable[[sqlite3.Connection], T], begin: str) -> T:
        try:
            try:
                return self._carried_out(work, begin)
            except Damaged as error:
                self._set_aside(error)
                return self._carried_out(work, begin)
        except Damaged as error:
            raise QueueError(f"The queue's file {self.path} is damaged ({error}) and cannot be set aside.") from error
        except sqlite3.OperationalError as error:
            raise QueueError(_words(self.path, error)) from error
        except OSError as error:
            raise QueueError(f"The queue's file {self.path} cannot be used: {error.strerror or error}.") from error

    def _carried_out(self, work: Callable[[sqlite3.Connection], T], begin: str) -> T:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self._opened() as connection:
            connection.execute(begin)
            try:
                done = work(connection)
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
            return done

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        connection = sqlite3.connect(self.path, timeout=BUSY_S, isolation_level=None)
        try:
            connection.row_factory = sqlite3.Row
            self._prepare(connection)
            yield connection
        except sqlite3.DatabaseError as error:
            if type(error) is sqlite3.DatabaseError:  # its kinds are about the work; this one is about the file
                raise Damaged(str(error)) from error
            raise
        finally:
            connection.close()

    def _prepare(self, connection: sqlite3.Connection) -> None:
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version > VERSION:
            raise QueueError(f"The queue's file {self.path} was written by a newer Pivotal; update this one.")
        if version == 0:
            self._make(connection)
        elif not self._checked:
            told = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
            if told != "ok":
                raise Damaged(told)
        self._checked = True

    def _make(self, connection: sqlite3.Connection) -> None:
        connection.execute("BEGIN EXCLUSIVE")  # two processes may start at once
        try:
            if connection.execute("PRAGMA user_version").fetchone()[0] == 0:
                if connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                    raise Damaged("it holds something else")
                for statement in _TABLES.split(";"):
                    connection.execute(statement)
                connection.execute("INSERT INTO changes VALUES (?, 0)", (uuid.uuid4().hex[:8],))
                connection.execute(f"PRAGMA user_version = {VERSION}")
            connection.execute("COMMIT")
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")

    def _set_aside(self, error: Damaged) -> None:
        """Renames the damaged file, and what SQLite keeps beside it; nothing is deleted."""
        with self._mending:
            self._checked = False
            try:
                self._carried_out(lambda _: None, "BEGIN")
                return  # another thread was quicker
            except Damaged:
                pass
            stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
            kept = self.path.with_name(f"{self.path.stem}-damaged-{stamp}-{uuid.uuid4().hex[:4]}{self.path.suffix}")
            for ending in ("-journal", "-wal", "-shm", ""):
                beside = self.path.with_name(self.path.name + ending)
                if beside.exists():
                    os.replace(beside, kept.with_name(kept.name + ending))
            self._checked = False
            self.notice = (f"The queue's file was damaged ({error}). It is kept as {kept.name} in {kept.parent}, and the queue "
                           "begins empty. The runs' own files are where they were.")
            log.warning("%s", self.notice)


def _words(path: Path, error: sqlite3.OperationalError) -> str:
    text = str(error)
    if "locked" in text or "busy" in text:
        return f"The queue's file {path} is in use by another program; try again when that is done with it."
    if "full" in text:
        return f"The queue's file {path} cannot grow: the disk is full. Make room."
    if "readonly" in text:
        return f"The queue's file {path} cannot be written to; check who may write there."
    return f"The queue's file {path} cannot be used: {text}."
