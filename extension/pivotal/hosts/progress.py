"""What a host may offer beside hosts.protocol.Host: its own progress bar."""

from __future__ import annotations

from typing import Protocol, runtime_checkable


@runtime_checkable
class ShowsProgress(Protocol):
    """A host whose own bar, window title and progress API can show how far a run is."""

    progress_task: str  # what its page asks for

    def show_progress(self, step: int, of: int, seconds: float) -> None:
        """Called behind each step, inside of `run`; costs microseconds.

        Args:
            seconds: spent in these steps, by which the host tells how long it will take.
        """
