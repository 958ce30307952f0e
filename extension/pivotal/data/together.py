"""Processes that train together encode each image once: every one does its share and gives it to the others."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from safetensors.torch import load, save

from pivotal.data.encoding import Encoded
from pivotal.data.latents import ImageStore
from pivotal.data.versions import Key
from pivotal.errors import DatasetError

_GIVEN, _STOPPED, _FAILED = b"g", b"s", b"f"


class Company(Protocol):
    """The processes; a `training.ranks.Ranks`."""

    index: int
    count: int

    def exchange(self, mine: bytes) -> list[bytes]: ...


Work = Sequence[Sequence[Sequence[Key]]]
"""For each process the groups of keys that it gives to all."""


def divided(store: ImageStore, keys: Sequence[Key], missing: Sequence[Key], company: Company) -> Work:
    """Who gives what: of what all lack, the groups in which one process alone would encode it, dealt in turn, so that the
    bits are the same; what only some lack is given by one that has it.

    Args:
        missing: those of `keys` that this process lacks.
    """
    lacks = set(missing)
    told = company.exchange(bytes(key in lacks for key in keys))
    work: list[list[Sequence[Key]]] = [[] for _ in told]
    new = [key for index, key in enumerate(keys) if all(one[index] for one in told)]
    for number, group in enumerate(store.grouped(new)):
        work[number % len(work)].append(group)
    for index, key in enumerate(keys):
        having = [giver for giver, one in enumerate(told) if not one[index]]
        if 0 < len(having) < len(told):
            work[having[0]].append([key])
    return work


def fill_together(store: ImageStore, work: Work, company: Company, stopped: Callable[[], bool]) -> Iterator[int]:
    """As `ImageStore.fill`, by all processes; it ends early in all of them when `stopped` in one.

    Raises:
        DatasetError: an image cannot be read or encoded; in all processes.
    """
    done = 0
    for turn in range(max(map(len, work))):
        given = [groups[turn] if turn < len(groups) else () for groups in work]
        told = company.exchange(_share(store, given[company.index], stopped))
        for one in told:
            if one[:1] == _FAILED:
                raise DatasetError(one[1:].decode("utf-8"))
        if any(one[:1] == _STOPPED for one in told):
            return
        for group, one in zip(given, told, strict=True):
            if group:
                store.keep(group, _unpacked(one[1:], len(group)))
                done += len(group)
        yield done


def _share(store: ImageStore, group: Sequence[Key], stopped: Callable[[], bool]) -> bytes:
    """What this process gives in a turn: its group, nothing, or why not."""
    if stopped():
        return _STOPPED
    try:
        return _GIVEN + (_packed(store.given(group)) if group else b"")
    except DatasetError as error:
        return _FAILED + str(error).encode("utf-8")


def _packed(images: Sequence[Encoded]) -> bytes:
    return save({f"{index}.{name}": tensor.contiguous() for index, one in enumerate(images)
                 for name, tensor in vars(one).items() if tensor is not None})


def _unpacked(given: bytes, count: int) -> list[Encoded]:
    tensors = load(given)
    return [Encoded(tensors[f"{index}.mean"], *(tensors.get(f"{index}.{name}") for name in ("deviation", "inpainting", "mask")))
            for index in range(count)]
