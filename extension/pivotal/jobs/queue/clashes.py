"""Runs of the queue that would take each other's files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pivotal.jobs.queue.entries import Entry, placeholders_of
from pivotal.prompts.placeholders import safe_file_name


def name_problem(name: str, others: Iterable[Entry]) -> str:
    """Why the queue cannot take a run of that name; empty when it can.

    Two runs of one name share a folder, a state and the network's file: the second would take the place of the first.
    """
    for other in others:
        if _stem(other.name) == _stem(name):
            where = {"running": "is being trained", "paused": "is paused"}.get(other.state, "waits in the queue")
            return f"a run {other.name!r} {where} already, and this one would take the place of its files; give it another name"
    return ""


def placeholder_notice(options: Mapping[str, Any], others: Iterable[Entry]) -> str:
    """What to say where an embedding of that word is trained by another run, too; empty where none is."""
    for other in others:
        taken = {_stem(word) for word in placeholders_of(other.options)}
        for word in placeholders_of(options):
            if _stem(word) in taken:
                return (f"{other.name!r} trains {word!r}, too: the later of the two runs takes the place of the earlier one's "
                        "embedding, which is kept in its run's folder under 'replaced'.")
    return ""


def free_name(name: str, others: Iterable[Entry]) -> str:
    """`name`, with the first number behind it that no other has."""
    taken = {_stem(other.name) for other in others}
    if _stem(name) not in taken:
        return name
    return next(made for number in range(2, len(taken) + 3) if _stem(made := f"{name} {number}") not in taken)


def _stem(name: str) -> str:
    """As file systems that know no case tell names apart."""
    return safe_file_name(name).casefold()
