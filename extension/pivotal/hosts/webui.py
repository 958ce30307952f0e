"""What the adapters of all four WebUIs have alike: AUTOMATIC1111's queue, folders, lists and interrogators."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Generic, Protocol, TypeVar

from pivotal.hosts.a1111_queue import TASK, Turn
from pivotal.hosts.captioning import Describe, webui_captioners
from pivotal.hosts.checkpoint_list import by_name
from pivotal.hosts.folders import webui_folders
from pivotal.hosts.own_tokenizer import OwnTokenizer
from pivotal.hosts.protocol import Folders

T = TypeVar("T")


class Watch(Protocol):
    """Of a guard, what is asked of each."""

    def changed(self) -> str | None:
        """See hosts.protocol.Host.changed."""


G = TypeVar("G", bound=Watch)


class WebuiHost(Generic[G]):
    """See hosts.protocol.Host; an adapter adds how its WebUI's model is described, lent and refreshed."""

    progress_task = TASK

    def __init__(self, turn: Turn | None = None) -> None:
        self._turn = turn or Turn()
        self._guard: G | None = None  # while a model is lent
        self._own_tokenizer = OwnTokenizer(self.folders)  # for what has none that fits

    def checkpoints(self) -> Sequence[str]:
        return list(by_name())

    def folders(self) -> Folders:
        return webui_folders()

    def run(self, work: Callable[[], T]) -> T:
        with self._turn.job():
            return work()

    def stop_requested(self) -> bool:
        return self._turn.interrupted()

    def show_progress(self, step: int, of: int, seconds: float) -> None:
        """See hosts.progress."""
        self._turn.show(step, of, seconds)

    def changed(self) -> str | None:
        return None if self._guard is None else self._guard.changed()

    def captioners(self) -> Mapping[str, Describe]:
        """See hosts.captioning."""
        return webui_captioners()
