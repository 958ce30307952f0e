"""Processes that train together: each does its share of a step's batches, all make the same update of equal weights.

The share goes by batch, not by image: what is drawn for a batch (noise, timesteps, dropout) hangs on its place in the run
alone, so any number of processes computes the same sums, up to the order of floats.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

import torch
from torch import Tensor, distributed

from pivotal.errors import TrainingError


class Ranks(Protocol):
    """This process among those of its run."""

    index: int  # 0 is the one that writes files
    count: int

    def join(self, parameters: Iterable[Tensor], values: Sequence[float]) -> list[float]:
        """Adds up the gradients of `parameters`, in place, and `values` over all processes; each calls it at the same time.

        A gradient that some process has is there in each of them afterwards; one that nobody has stays None.
        """

    def exchange(self, mine: bytes) -> list[bytes]:
        """What each process gives, in their order; each calls it at the same time."""


class Alone:
    """One process: nothing to add up."""

    index, count = 0, 1

    def join(self, parameters: Iterable[Tensor], values: Sequence[float]) -> list[float]:
        """As they are."""
        return list(values)

    def exchange(self, mine: bytes) -> list[bytes]:
        """As it is."""
        return [mine]


class Together:
    """The processes of the default group of `torch.distributed`, which must be initialized.

    Args:
        device: where this process trains; with NCCL all that is sent must lie there.
    """

    def __init__(self, device: torch.device):
        self.index, self.count = distributed.get_rank(), distributed.get_world_size()
        self._device = device if distributed.get_backend() == "nccl" else torch.device("cpu")

    def join(self, parameters: Iterable[Tensor], values: Sequence[float]) -> list[float]:
        """See `Ranks`.

        Raises:
            TrainingError: another process has ended.
        """
        parameters = list(parameters)
        told = torch.tensor([*(parameter.grad is not None for parameter in parameters), *values], dtype=torch.float64,
                            device=self._device)
        self._add(told)
        numbers = told.tolist()
        shared = [parameter for parameter, having in zip(parameters, numbers, strict=False) if having]
        for parameter in shared:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        for kind in sorted({str(parameter.dtype) for parameter in shared}):  # one message for all of a kind
            self._add_gradients([parameter.grad for parameter in shared if str(parameter.dtype) == kind])
        return numbers[len(parameters):]

    def exchange(self, mine: bytes) -> list[bytes]:
        """See `Ranks`.

        Raises:
            TrainingError: another process has ended.
        """
        lengths = self.join((), [float(len(mine)) if index == self.index else 0.0 for index in range(self.count)])
        given = []
        for source, length in enumerate(map(int, lengths)):
            block = torch.frombuffer(bytearray(mine), dtype=torch.uint8) if source == self.index and length else torch.empty(
                length, dtype=torch.uint8)
            block = block.to(self._device)
            if length:
                with _told():
                    distributed.broadcast(block, source)
            given.append(block.cpu().numpy().tobytes())
        return given

    def _add_gradients(self, gradients: Sequence[Tensor]) -> None:
        together = torch.cat([gradient.reshape(-1) for gradient in gradients])
        summed = together.to(self._device)
        self._add(summed)
        parts = summed.to(together.device).split([gradient.numel() for gradient in gradients])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view_as(gradient))

    def _add(self, numbers: Tensor) -> None:
        with _told():
            distributed.all_reduce(numbers)


@contextmanager
def _told() -> Iterator[None]:
    """Says in words that a process is gone."""
    try:
        yield
    except RuntimeError as error:  # torch has no narrower one for a peer that is gone
        raise TrainingError("Another process of this run has ended or answers no more; see its own output. What was learned "
                            f"before this step is kept: resume the run. ({str(error).splitlines()[0][:120]})") from error


def mine(ranks: Ranks, batches: int) -> range:
    """Which of a step's `batches`, 0 to `batches` - 1, this process does.

    Raises:
        ValueError: they cannot be shared evenly, and one process would wait for another in each step.
    """
    if batches % ranks.count:
        raise ValueError(f"{batches} batches cannot be shared among {ranks.count} processes")
    return range(ranks.index, batches, ranks.count)
