"""What the loop asks of something that can be trained; embeddings and networks both are one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

from torch import Tensor, nn


class Trainable(Protocol):
    """Parameters with a learning rate, and when they may learn. "Both" is a list of two."""

    rate: float  # learning rate

    @property
    def name(self) -> str:
        """Unique among a run's trainables; names it in events and states."""

    def parameters(self) -> Iterator[nn.Parameter]:
        """fp32, whatever the model's dtype."""

    def state_dict(self) -> Mapping[str, Tensor]:
        """What has been learned."""

    def load_state_dict(self, state: Mapping[str, Tensor]) -> object:
        """Takes back what `state_dict` gave."""

    def vectors(self) -> Mapping[str, Sequence[Tensor]]:
        """Placeholder -> vectors per text encoder that it gives to captions; none for a network."""

    def may_learn(self, steps: int, epochs: float, images: int, minutes: float) -> bool:
        """Whether the next step may change it, after so much training."""

    def after_step(self) -> None:
        """Called after each optimizer step that may have changed it."""
