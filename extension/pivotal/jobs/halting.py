"""Whether a run is to leave the model that it was lent: Stop, a pause, or what the host did to it."""

from __future__ import annotations

from pivotal.events import Emit, Noticed
from pivotal.hosts.protocol import Host
from pivotal.jobs.control import Control


class Halting:
    """Asked between steps, from the time that the model is lent until it is given back.

    Args:
        resumed: whether the run goes on after a pause, and so has learned something already.
    """

    def __init__(self, control: Control, host: Host, emit: Emit, *, resumed: bool):
        self.control, self.host, self.emit = control, host, emit
        self.resumed = resumed
        self.leaves = False  # for a pause
        self._taken = False  # whether the host has changed the lent model

    def stop(self) -> bool:
        """Whether the run ends, with what it has learned."""
        return self.control.stop.is_set() or self._taken or self.host.stop_requested()

    def pause(self) -> bool:
        """Whether a pause was asked for."""
        # Kept, as Resume may be pressed before the model is given back: then the pause is over at once.
        self.leaves = self.leaves or self.control.pause.is_set()
        return self.leaves

    def before_step(self, done: int) -> bool:
        """Whether not one step more is to be taken, after so many."""
        after = self.control.stop_after_steps
        return self.stop() or (after is not None and done >= after) or self._taken_away() or self.pause()

    def encoding(self) -> bool:
        """Whether no more images are to be encoded. A Stop after a pause is to write what was learned before it."""
        return (not self.resumed and self.stop()) or self.pause()

    def _taken_away(self) -> bool:
        change = self.host.changed()
        if change is not None:
            self._taken = True
            self.emit(Noticed(f"{change} The run ends here and keeps what it has learned."))
        return self._taken
