"""The prompt box's brackets: (more), [less], (this much:1.2), \\( for the sign itself, and BREAK."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

# The two expressions decide what a bracket is; they are AUTOMATIC1111's (modules/prompt_parser.py, v1.10.1, 82a973c0).
SIGNS = re.compile(r"\\[()\[\]\\]|\\|[(\[]|:\s*([+-]?[.\d]+)\s*\)|[)\]]|[^\\()\[\]:]+|:")
BREAK = re.compile(r"\s*\bBREAK\b\s*")
MORE = 1.1
LESS = 1 / 1.1


@dataclass
class Segment:
    """A stretch of the prompt under one weight; mutable only while it is being read."""

    text: str
    weight: float
    places: list[int]  # of each letter of `text`, its place in the prompt

    @property
    def is_break(self) -> bool:
        """Whether the chunk ends here. The host marks it by a weight that brackets change, so that (a BREAK b) has none
        but [(a BREAK b)] does; its counts are only met by doing the same."""
        return self.text == "BREAK" and self.weight == -1.0


def parse_emphasis(prompt: str) -> list[Segment]:
    """The stretches of `prompt` without their brackets; neighbours of equal weight are one, for BPE needs whole words.

    As AUTOMATIC1111 1.10.1, also where that is odd; only a number that is none, as in ``(cat:1.2.3)``, is a weight of
    1 here and an exception there.

    Returns: at least one segment, maybe of empty text.
    """
    segments: list[Segment] = []
    opened: dict[str, list[int]] = {"(": [], "[": []}

    def close(bracket: str, factor: float) -> None:
        for segment in segments[opened[bracket].pop():]:
            segment.weight *= factor

    for found in SIGNS.finditer(prompt):
        sign, number, start = found[0], found[1], found.start()
        if sign.startswith("\\"):
            segments.append(Segment(sign[1:], 1.0, list(range(start + 1, found.end()))))
        elif sign in "([":
            opened[sign].append(len(segments))
        elif number is not None and opened["("]:
            close("(", _number(number))
        elif sign == ")" and opened["("]:
            close("(", MORE)
        elif sign == "]" and opened["["]:
            close("[", LESS)
        else:
            segments.extend(split_at_breaks(sign, start))
    for bracket, factor in (("(", MORE), ("[", LESS)):
        while opened[bracket]:  # an open bracket reaches to the end
            close(bracket, factor)
    return _merged(segments) or [Segment("", 1.0, [])]


def split_at_breaks(text: str, start: int = 0) -> Iterator[Segment]:
    """`text`, which begins at `start` of the prompt, cut at each BREAK, the blanks around it dropped."""
    begin = 0
    for found in BREAK.finditer(text):
        yield _plain(text, begin, found.start(), start)
        place = text.index("BREAK", found.start())
        yield Segment("BREAK", -1.0, list(range(start + place, start + place + len("BREAK"))))
        begin = found.end()
    yield _plain(text, begin, len(text), start)


def _plain(text: str, begin: int, end: int, start: int) -> Segment:
    return Segment(text[begin:end], 1.0, list(range(start + begin, start + end)))


def _merged(segments: list[Segment]) -> list[Segment]:
    """`segments` with equal neighbours joined."""
    merged: list[Segment] = []
    for segment in segments:
        last = merged[-1] if merged else None
        if last and last.weight == segment.weight:
            last.text += segment.text
            last.places += segment.places
        else:
            merged.append(segment)
    return merged


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 1.0
