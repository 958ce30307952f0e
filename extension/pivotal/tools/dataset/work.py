"""One long piece of work on a folder at a time, in a thread of its own, which a closed page does not end."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

from pivotal.errors import PivotalError

log = logging.getLogger(__name__)

_TOLD = 20  # troubles that are shown; of more only their number
Step = Callable[[str], str]  # does one image by its name; what there is to say of it, or ""


@dataclass(frozen=True)
class WorkView:
    """How the work fares."""

    title: str = ""
    state: str = "idle"  # "running", "stopping", "finished", "stopped", "failed"
    done: int = 0
    of: int = 0
    changed: int = 0  # images of which something was written
    message: str = ""
    troubles: tuple[str, ...] = ()  # the first ones, each with its image
    troubled: int = 0
    version: int = 0


class Work:
    """Runs one piece of work; another is refused meanwhile."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._view = WorkView()
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()

    def start(self, title: str, names: Sequence[str], opened: Callable[[], AbstractContextManager[Step]],
              ended: Callable[[], str] = str) -> None:
        """Does each of `names` with what `opened` gives, which loads what it needs in the thread.

        Args:
            ended: called behind the last one; its words are added to the message.

        Raises:
            PivotalError: other work is going on.
        """
        with self._lock:
            self.refuse()
            self._stop.clear()
            self._view = WorkView(title, "running", of=len(names), version=self._view.version + 1)
            self._thread = threading.Thread(target=self._work, args=(names, opened, ended), name="pivotal-dataset", daemon=True)
            self._thread.start()

    def refuse(self) -> None:
        """Raises PivotalError while work is going on."""
        if self._thread is not None and self._thread.is_alive():
            raise PivotalError(f"{self._view.title} is going on; stop it or wait for its end.")

    def stop(self) -> None:
        """Stops after the image that it is at."""
        self._stop.set()
        with self._lock:  # as it may be ending now, and what has ended is not stopping
            if self._view.state == "running":
                self._view = replace(self._view, state="stopping", version=self._view.version + 1)

    def view(self) -> WorkView:
        return self._view

    def wait(self, timeout: float | None = None) -> WorkView:
        """Waits for the end."""
        if self._thread is not None:
            self._thread.join(timeout)
        return self._view

    def _tell(self, **facts: object) -> None:
        with self._lock:
            self._view = replace(self._view, **facts, version=self._view.version + 1)

    def _work(self, names: Sequence[str], opened: Callable[[], AbstractContextManager[Step]], ended: Callable[[], str]) -> None:
        try:
            with opened() as step:
                for name in names:
                    if self._stop.is_set():
                        break
                    self._do(name, step)
            words = ended()
        except PivotalError as error:
            self._tell(state="failed", message=str(error))
        except Exception as error:  # the thread's door
            log.exception("%s failed", self._view.title)
            self._tell(state="failed", message=f"{type(error).__name__}: {str(error)[:300]} (the log has the whole traceback)")
        else:
            self._tell(state="stopped" if self._stop.is_set() else "finished", message=words)

    def _do(self, name: str, step: Step) -> None:
        view = self._view
        try:
            said = step(name)
        except PivotalError as error:
            self._tell(done=view.done + 1, troubled=view.troubled + 1,
                       troubles=(*view.troubles, f"{name}: {error}")[:_TOLD])
        else:
            self._tell(done=view.done + 1, changed=view.changed + bool(said))
