"""Values for the UNet's blocks, from what a person typed."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence

from pivotal.models.layers import Layer

MIDDLE = 3  # places within the middle block: residual, attention, residual

# Weights of n blocks, first to last; both halves of the UNet take them alike (kohya, networks/lora.py).
WORDS: Mapping[str, Callable[[int, int], float]] = {
    "sine": lambda place, count: math.sin(math.pi / 2 * place / max(count - 1, 1)),
    "cosine": lambda place, count: math.sin(math.pi / 2 * (count - 1 - place) / max(count - 1, 1)),
    "linear": lambda place, count: place / max(count - 1, 1),
    "reverse_linear": lambda place, count: (count - 1 - place) / max(count - 1, 1),
    "zeros": lambda _place, _count: 0.0,
}


def block_values(text: str, inputs: int) -> list[float]:
    """A value for each of the UNet's places: `inputs` input blocks, three in the middle, as many output blocks.

    Args:
        text: numbers for all blocks; or three groups parted by /, each of numbers or one of WORDS, perhaps with
            something added (``cosine+0.1 / 1 / linear``); or one word for both halves, the middle being 1. Lists with
            three numbers for the middle, and kohya's of SDXL with one more at each end, are taken as well.
        inputs: 12 in SD 1 and SD 2, 9 in SDXL.

    Raises:
        ValueError: it is none of these; names the right length.
    """
    groups = [group.strip() for group in text.split("/")]
    if len(groups) == 3:
        down, up = (_half(group, inputs, name) for group, name in ((groups[0], "down"), (groups[2], "up")))
        middle = _numbers(groups[1])
        if len(middle) not in (1, MIDDLE):
            raise ValueError(f"expected 1 number for the middle, got {len(middle)}")
        return [*down, *(middle * MIDDLE if len(middle) == 1 else middle), *up]
    if len(groups) != 1:
        raise ValueError(f"expected one list, or down / middle / up; got {len(groups)} groups")
    if not re.match(r"\s*[a-z]", text):
        return _whole(_numbers(text), inputs)
    return [*_half(text, inputs, "down"), *[1.0] * MIDDLE, *_half(text, inputs, "up")]


def _whole(numbers: Sequence[float], inputs: int) -> list[float]:
    if len(numbers) == 2 * inputs + 5:
        numbers = numbers[1:-1]  # the embeddings of time and label, and the last convolution: no network is there
    if len(numbers) == 2 * inputs + MIDDLE:
        return list(numbers)
    if len(numbers) != 2 * inputs + 1:
        last = f"{inputs - 1:02d}"
        raise ValueError(f"expected {2 * inputs + 1} numbers (IN00 to IN{last}, M00, OUT00 to OUT{last}), got {len(numbers)}")
    return [*numbers[:inputs], *[numbers[inputs]] * MIDDLE, *numbers[inputs + 1:]]


def _half(text: str, count: int, name: str) -> list[float]:
    word = re.fullmatch(r"([a-z_]+)\s*(?:\+\s*(\S+))?", text.strip())
    if word is None:
        numbers = _numbers(text)
        if len(numbers) != count:
            raise ValueError(f"expected {count} numbers for {name}, got {len(numbers)}")
        return numbers
    if word[1] not in WORDS:
        raise ValueError(f"{word[1]!r} is none of {', '.join(WORDS)}")
    more = _number(word[2]) if word[2] else 0.0
    return [WORDS[word[1]](place, count) + more for place in range(count)]


def _numbers(text: str) -> list[float]:
    return [_number(piece) for piece in re.split(r"[,\s]+", text.strip(" ,\t\n")) if piece]


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise ValueError(f"expected a number, got {text!r}") from None
    if not 0 <= value <= 65536:
        raise ValueError(f"expected a number from 0 on, got {text!r}")
    return value


def place_of(layer: Layer, inputs: int) -> int | None:
    """Which of `block_values` is `layer`'s; None outside of the blocks."""
    if layer.block is None or layer.block < inputs:
        return layer.block
    if layer.block > inputs:
        return layer.block + MIDDLE - 1
    return inputs + (1 if ".attentions." in layer.path else 2 if ".resnets.1." in layer.path else 0)
