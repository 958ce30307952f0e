"""The queue's runs on disk: added, ordered, searched, changed. Every call is one short transaction."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pivotal.errors import QueueError
from pivotal.jobs.queue.database import Database
from pivotal.jobs.queue.entries import OPEN, Entry, State, now, words_of
from pivotal.jobs.queue.journals import journal_size

Move = Literal["up", "down", "top", "bottom"]
_JSON = ("options", "problems", "files", "log")
_COLUMNS = ("id", "position", "state", "name", "words", "options", "resume", "created", "started", "ended", "run", "folder",
            "step", "of", "loss", "message", "problems", "files", "log", "journal_from", "journal_to")
_SHOWN_ORDER = """ORDER BY CASE state WHEN 'running' THEN 0 WHEN 'paused' THEN 1 WHEN 'waiting' THEN 2 ELSE 3 END,
                  CASE state WHEN 'waiting' THEN position ELSE -position END"""


class NoSuchRun(QueueError):
    """No run has the id."""


class WrongState(QueueError):
    """The run is not in a state that allows what was asked."""


class Store:
    """All methods may raise QueueError, in words: the file cannot be used now, or there is no such run."""

    def __init__(self, path: Path):
        self.database = Database(path)

    def add(self, entries: Sequence[Entry], *, on_top: bool = False) -> None:
        """All of them or none, behind those that are there, or before them."""

        def work(connection: sqlite3.Connection) -> None:
            first = _top(connection) - len(entries) + 1 if on_top else _next(connection)
            for index, entry in enumerate(entries):
                values = _row(entry) | {"position": first + index, "words": words_of(entry.name, entry.options)}
                connection.execute(f"INSERT INTO runs ({_quoted(_COLUMNS)}) VALUES ({', '.join('?' * len(_COLUMNS))})",
                                   [values[column] for column in _COLUMNS])

        self.database.write(work)

    def get(self, identifier: str) -> Entry:
        """The run of that id."""
        return self.database.read(lambda connection: _get(connection, identifier))

    def found(self, *, search: str = "", state: State | None = None, limit: int = 100, offset: int = 0,
              only: str = "all") -> tuple[list[Entry], int]:
        """The running one first, then those that wait, then the others, the latest first; and how many there are in all.

        Args:
            search: words that must all occur in the name, a placeholder, the dataset's folder or the checkpoint.
            only: "all", "open" (waiting, running, paused) or "history".
        """
        wanted, values = ["1"], []
        for word in search.casefold().split():
            wanted.append("instr(words, ?)")
            values.append(word)
        if state is not None:
            wanted.append("state = ?")
            values.append(state)
        if only != "all":
            wanted.append(f"state {'NOT ' if only == 'history' else ''}IN ({', '.join('?' * len(OPEN))})")
            values.extend(OPEN)
        where = " AND ".join(wanted)

        def work(connection: sqlite3.Connection) -> tuple[list[Entry], int]:
            rows = connection.execute(f"SELECT * FROM runs WHERE {where} {_SHOWN_ORDER} LIMIT ? OFFSET ?",
                                      [*values, limit, offset]).fetchall()
            count = connection.execute(f"SELECT count(*) FROM runs WHERE {where}", values).fetchone()[0]
            return [_entry(row) for row in rows], count

        return self.database.read(work)

    def open_runs(self) -> list[Entry]:
        """The running or paused ones, then those that wait, in order."""
        return self.found(only="open", limit=-1)[0]

    def latest_left(self, name: str) -> Entry | None:
        """The latest run of that name that was left before its end."""
        return self.database.read(lambda connection: next((_entry(row) for row in connection.execute(
            "SELECT * FROM runs WHERE name = ? AND state IN ('interrupted', 'stopped', 'failed', 'paused') "
            "ORDER BY position DESC LIMIT 1", [name])), None))

    def change(self, identifier: str, *, expected: Sequence[State] = (), **changes: Any) -> Entry:
        """Sets fields of a run; the run then.

        Args:
            expected: the states that it must be in; empty allows any.
        """

        def work(connection: sqlite3.Connection) -> Entry:
            entry = _in_state(connection, identifier, expected)
            values = dict(changes)
            if "options" in values or "name" in values:
                values["words"] = words_of(values.get("name", entry.name), values.get("options", entry.options))
            if values.get("state") == "running" and entry.state not in ("running", "paused"):
                values["position"] = _next(connection)
            if values.get("state") == "waiting" and entry.state != "waiting":
                values["position"] = _top(connection)
            assignments = ", ".join(f'"{column}" = ?' for column in values)
            connection.execute(f"UPDATE runs SET {assignments} WHERE id = ?",
                               [*(_plain(column, value) for column, value in values.items()), identifier])
            return _get(connection, identifier)

        return self.database.write(work)

    def take_next(self) -> Entry | None:
        """The first of those that wait, which is running now; None when none waits."""
        first = "SELECT * FROM runs WHERE state = 'waiting' ORDER BY position LIMIT 1"

        def work(connection: sqlite3.Connection) -> Entry | None:
            row = connection.execute(first).fetchone()
            if row is None:
                return None
            entry = _entry(row)  # one that begins anew has nothing of what the journal holds by now
            begin = entry.journal_from if entry.resume else journal_size(entry.journal)
            connection.execute("UPDATE runs SET state = 'running', started = ?, position = ?, journal_from = ? WHERE id = ?",
                               [now(), _next(connection), begin, entry.id])
            return _get(connection, entry.id)

        return self.database.write(work)

    def move(self, identifier: str, to: Move) -> None:
        """Puts a waiting run elsewhere among those that wait; one that cannot go further stays."""

        def work(connection: sqlite3.Connection) -> None:
            _in_state(connection, identifier, ("waiting",))
            order = [row["id"] for row in connection.execute(
                "SELECT id FROM runs WHERE state = 'waiting' ORDER BY position")]
            places = [row["position"] for row in connection.execute(
                "SELECT position FROM runs WHERE state = 'waiting' ORDER BY position")]
            place = order.index(identifier)
            order.remove(identifier)
            order.insert({"up": max(0, place - 1), "down": place + 1, "top": 0, "bottom": len(order)}[to], identifier)
            connection.executemany("UPDATE runs SET position = ? WHERE id = ?", zip(places, order, strict=True))

        self.database.write(work)

    def remove(self, identifier: str) -> None:
        """Takes a run that is not running out of the queue or the history; its files stay."""

        def work(connection: sqlite3.Connection) -> None:
            if _get(connection, identifier).state in ("running", "paused"):
                raise WrongState("This run is going on; stop it first.")
            connection.execute("DELETE FROM runs WHERE id = ?", [identifier])

        self.database.write(work)

    def clear(self, state: State | None = None) -> int:
        """Takes all that are over (or only those of one such state) out of the history; how many. Their files stay."""
        also, values = ("AND state = ?", [state]) if state else ("", [])
        return self.database.write(lambda connection: connection.execute(
            f"DELETE FROM runs WHERE state NOT IN ({', '.join('?' * len(OPEN))}) {also}", [*OPEN, *values]).rowcount)


def _get(connection: sqlite3.Connection, identifier: str) -> Entry:
    row = connection.execute("SELECT * FROM runs WHERE id = ?", [identifier]).fetchone()
    if row is None:
        raise NoSuchRun(f"The queue has no run {identifier}; it may have been removed.")
    return _entry(row)


def _in_state(connection: sqlite3.Connection, identifier: str, expected: Sequence[State]) -> Entry:
    entry = _get(connection, identifier)
    if expected and entry.state not in expected:
        raise WrongState(f"{entry.name!r} is {entry.state}; this is for runs that are {' or '.join(expected)}.")
    return entry


def _next(connection: sqlite3.Connection) -> int:
    return connection.execute("SELECT coalesce(max(position), 0) + 1 FROM runs").fetchone()[0]


def _top(connection: sqlite3.Connection) -> int:
    """A position before all that wait."""
    return connection.execute("SELECT coalesce(min(position), 1) - 1 FROM runs WHERE state = 'waiting'").fetchone()[0]


def _quoted(columns: Sequence[str]) -> str:
    return ", ".join(f'"{column}"' for column in columns)


def _plain(column: str, value: Any) -> Any:
    return json.dumps(value, default=str) if column in _JSON else value


def _row(entry: Entry) -> dict[str, Any]:
    return {column: _plain(column, getattr(entry, column)) for column in _COLUMNS if hasattr(entry, column)}


def _entry(row: sqlite3.Row) -> Entry:
    values = {column: json.loads(row[column]) if column in _JSON else row[column] for column in _COLUMNS
              if column not in ("position", "words")}
    values |= {"resume": bool(row["resume"]), "files": tuple((path, size) for path, size in values["files"]),
               "log": tuple(values["log"])}
    return Entry(**values)
