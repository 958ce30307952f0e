"""What the loop asks of something that can be trained; embeddings and networks both are one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor, nn


class Trainable(Protocol):
    """Parameters, and what they give to the model. When and how fast they learn is a `training.part.Part`'s."""

    @property
    def name(self) -> str:
        """Unique among a run's trainables; names it in events and states."""

    def parameters(self) -> Iterator[nn.Parameter]:
        """fp32, whatever the model's dtype; or bf16, which `rounding.widened` makes fp32 for each update."""

    def groups(self) -> Sequence[tuple[float, Sequence[nn.Parameter]]]:
        """All parameters, each once, after how many times the trainable's rate they learn with."""

    def state_dict(self) -> Mapping[str, Tensor]:
        """What has been learned."""

    def load_state_dict(self, state: Mapping[str, Tensor]) -> object:
        """Takes back what `state_dict` gave."""

    def vectors(self) -> Mapping[str, Sequence[Tensor]]:
        """Placeholder -> vectors per text encoder that it gives to captions; none for a network."""

    def train(self, mode: bool = True) -> object:
        """Switches on, or off, what happens only while learning: dropouts, random ranks."""

    def prepare(self, generator: torch.Generator) -> None:
        """Draws from `generator` what is chosen anew for each batch."""

    def after_step(self) -> None:
        """Called after each optimizer step that may have changed it."""
