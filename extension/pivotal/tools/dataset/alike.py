"""Images that are in a folder twice: the same bytes, or nearly the same picture. Nothing but Pillow and numpy."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from pivotal.data.images import open_image, upright_rgb

_SIDE = 8  # of the grid in which pictures are compared
NEAR = 5  # of 64 bits that may differ between pictures that are nearly the same
_COLOUR = 12  # of 255, by which their mean colours may
_BLOCK = 1 << 20  # bytes that are hashed at once


@dataclass(frozen=True)
class Look:
    """What a picture looks like, in 11 bytes."""

    bits: int  # 64: whether each place of a grid is brighter than the next one
    colour: tuple[int, int, int]  # its mean


def groups_of(known: Mapping[str, Hashable]) -> list[tuple[str, ...]]:
    """Groups of names of which the same is known, where there are two or more."""
    groups: dict[Hashable, list[str]] = defaultdict(list)
    for name, fact in known.items():
        groups[fact].append(name)
    return [tuple(group) for group in groups.values() if len(group) > 1]


def digest_of(path: Path) -> bytes:
    """A digest of a file's bytes.

    Raises:
        OSError: it cannot be read.
    """
    hashed = hashlib.blake2b(digest_size=16)
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            hashed.update(block)
    return hashed.digest()


def look_of(path: Path) -> Look:
    """What the image in `path` looks like; decodes it whole, so that damage is seen.

    Raises:
        one of READ_ERRORS: it cannot be read.
    """
    with open_image(path) as opened:
        if opened.format == "JPEG":
            opened.draft("RGB", (8 * _SIDE, 8 * _SIDE))  # decodes at an eighth, many times faster
        image = upright_rgb(opened)
    gray = np.asarray(image.convert("L").resize((_SIDE + 1, _SIDE), Image.Resampling.BOX), dtype=np.int16)
    bits = (gray[:, 1:] > gray[:, :-1]).ravel()
    mean = np.asarray(image.resize((1, 1), Image.Resampling.BOX)).ravel()
    return Look(int.from_bytes(np.packbits(bits).tobytes(), "big"), tuple(int(part) for part in mean))


def nearly_same(looks: Mapping[str, Look]) -> list[tuple[str, ...]]:
    """Groups of names whose pictures are nearly the same, directly or through a third one. 10,000 take a second or two."""
    names = list(looks)
    bits = np.array([looks[name].bits for name in names], dtype=np.uint64)
    colours = np.array([looks[name].colour for name in names], dtype=np.int16).reshape(len(names), 3)
    group = list(range(len(names)))
    for index in range(len(names) - 1):
        others = np.flatnonzero(_count_bits(bits[index + 1:] ^ bits[index]) <= NEAR) + index + 1
        close = others[np.abs(colours[others] - colours[index]).max(axis=1, initial=0) <= _COLOUR]
        for other in close:
            _join(group, index, int(other))
    return groups_of({name: _root(group, index) for index, name in enumerate(names)})


def _count_bits(numbers: np.ndarray) -> np.ndarray:
    """Ones in each of `numbers`; numpy 1 has no bitwise_count. Hacker's Delight (Warren 2012), section 5-1."""
    numbers = numbers - ((numbers >> np.uint64(1)) & np.uint64(0x5555555555555555))
    numbers = (numbers & np.uint64(0x3333333333333333)) + ((numbers >> np.uint64(2)) & np.uint64(0x3333333333333333))
    numbers = (numbers + (numbers >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return (numbers * np.uint64(0x0101010101010101)) >> np.uint64(56)


def _root(group: list[int], index: int) -> int:
    while group[index] != index:
        group[index] = group[group[index]]
        index = group[index]
    return index


def _join(group: list[int], one: int, other: int) -> None:
    one, other = _root(group, one), _root(group, other)
    group[max(one, other)] = min(one, other)


def partners(groups: Iterable[Sequence[str]]) -> dict[str, tuple[str, ...]]:
    """Each name of the groups with the others of its own."""
    return {name: tuple(other for other in group if other != name) for group in groups for name in group}
