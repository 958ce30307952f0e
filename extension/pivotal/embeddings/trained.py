"""One embedding in training: a trainable of the loop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn


class TrainedEmbedding(nn.Module):
    """Vectors of one placeholder, one (count, width) parameter per text encoder, fp32 whatever the model's dtype.

    Only these have gradients and optimizer state; the token table is neither copied nor resized.

    Args:
        norms: per text encoder the length to which each vector is rescaled after a step; None leaves it.
    """

    def __init__(self, placeholder: str, initial: Sequence[Tensor], *, norms: Sequence[float] | None = None):
        super().__init__()
        self.placeholder = placeholder
        self.norms = tuple(norms) if norms is not None else None
        # fp32: bf16 loses updates below 2^-8 of a value, and these are smaller.
        self.values = nn.ParameterList(nn.Parameter(tensor.float().clone()) for tensor in initial)

    @property
    def name(self) -> str:
        return self.placeholder

    def vectors(self) -> Mapping[str, Sequence[Tensor]]:
        """What the text encoders get in place of the placeholder."""
        return {self.placeholder: tuple(self.values)}

    def groups(self) -> Sequence[tuple[float, Sequence[nn.Parameter]]]:
        """All vectors, at its own rate."""
        return [(1.0, tuple(self.values))]

    def train(self, mode: bool = True) -> TrainedEmbedding:
        """Nothing in it differs while it learns; nn.Module's own walks its lists in each step."""
        vars(self)["training"] = mode
        return self

    def prepare(self, generator: torch.Generator) -> None:
        """Nothing in it is drawn."""

    @torch.no_grad()
    def after_step(self) -> None:
        """Norm preservation: v <- v / |v| x median of the encoder's own norms, per vector (OneTrainer's rule)."""
        if self.norms is None:
            return
        for value, norm in zip(self.values, self.norms, strict=True):
            value.mul_(norm / value.norm(dim=1, keepdim=True).clamp_min(1e-12))
