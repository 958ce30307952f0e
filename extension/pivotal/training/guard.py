"""Keeps bad steps from what is learned: counts them, and says whether the run may go on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from pivotal.config.sections.guard import Guard as Rules
from pivotal.errors import TrainingError
from pivotal.training.bad_step import BadStep

LOOK_BACK = 25  # steps between two copies of the whole session, to which a step may be taken back
ADVICE = "A lower learning rate, or precision bf16 or fp32, helps; what was learned before this step is kept."


class Guard:
    """The bad steps of a run. Part of its state: a resumed run leaves out what the unbroken one did.

    Args:
        keeps: whether a step may have to be taken back, for which the session is copied now and then.
    """

    def __init__(self, rules: Rules, keeps: bool):
        self.rules, self._keeps = rules, keeps
        self.in_a_row = self.in_all = 0
        self.is_precise = False  # whether the run computes in fp32 because of one
        self._left_out: set[int] = set()  # steps, by the images that were seen before them
        self._good: tuple[dict[str, Any], dict[str, Tensor]] | None = None
        self._good_step = 0

    @property
    def goes_on(self) -> bool:
        """Whether a bad step does not end the run."""
        return self.rules.bad_step != "stop"

    def count(self, step: int, bad: BadStep) -> None:
        """Notes a bad step. One that is taken back is none of a row: the steps before it come once more.

        Raises:
            TrainingError: the run ends by it.
        """
        self.in_a_row, self.in_all = self.in_a_row + (not bad.poisoned), self.in_all + 1
        told = f"Step {step}: {bad}."
        if not self.goes_on:
            raise TrainingError(f"{told} {ADVICE}")
        if self.in_a_row >= self.rules.in_a_row:
            raise TrainingError(f"{told} It is bad step {self.in_a_row} in a row, after which the run ends. {ADVICE}")
        if self.in_all >= self.rules.in_all:
            raise TrainingError(f"{told} It is bad step {self.in_all} of the run, after which it ends. {ADVICE}")

    def good(self) -> None:
        """Notes a good step."""
        self.in_a_row = 0

    def leaves_out(self, images: int) -> bool:
        """Whether the step that begins after so many images is known to spoil the weights."""
        return images in self._left_out

    def leave_out(self, images: int) -> None:
        """From now on, `leaves_out` that step."""
        self._left_out.add(images)

    def wants_copy(self, step: int) -> bool:
        """Whether a copy of the session is due before the next step, `step` being done."""
        return self._keeps and self.goes_on and (self._good is None or step >= self._good_step + LOOK_BACK)

    def keep_copy(self, step: int, facts: dict[str, Any], tensors: Mapping[str, Tensor]) -> None:
        """Keeps the session as it is after `step`, on the CPU."""
        # State dicts hold the parameters themselves, which go on learning; all else are copies.
        trained = {key: tensor.detach().to("cpu", copy=True) for key, tensor in tensors.items() if key.startswith("trained.")}
        self._good, self._good_step = (facts, dict(tensors) | trained), step

    @property
    def copy(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """What was kept last."""
        assert self._good is not None, "nothing was kept"
        return self._good

    def state(self) -> dict[str, Any]:
        """Facts for the run's state."""
        return {"in_a_row": self.in_a_row, "in_all": self.in_all, "precise": self.is_precise,
                "left_out": sorted(self._left_out)}

    def restore(self, facts: Mapping[str, Any]) -> None:
        """Takes back what `state` gave."""
        self.in_a_row, self.in_all, self.is_precise = facts["in_a_row"], facts["in_all"], facts["precise"]
        left_out: Sequence[int] = facts["left_out"]
        self._left_out = set(left_out)
