"""What a prompt box makes of its text before it counts: # comments and <lora:..> go, AND divides, [a:b:0.5] and [a|b] vary.

The grammar is AUTOMATIC1111's (modules/prompt_parser.py and modules/extra_networks.py, v1.10.1, 82a973c0), read here by
descent, since a host may lack lark and its Earley parser takes seconds on long prompts:

    start: (prompt | stray [ ] ( ) or :)*
    prompt: ("(" prompt [":" prompt] ")" | "[" prompt "]" | scheduled | alternate | plain)*
    scheduled: "[" [prompt ":"] prompt ":" number "]"
    alternate: "[" prompt ("|" [prompt])+ "]"
    plain: anything but \\ [ ] ( ) : |, or \\ and one more character of the same line

Beside stray brackets the host's parser may or may not see a schedule, by chance of the process (lark 1.1.2 sorts a set
of readings by hash; "x [a:b:.5]: y" was seen both ways); here it is always seen.

A text is a list of places in the whole prompt all the way, so that the counter can point at what it counted.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Union

COMMENT = re.compile(r"#[^\n]*")  # modules/processing_scripts/comments.py, on unless switched off in the settings
EXTRA_NETWORK = re.compile(r"<\w+:[^>]+>")
AND = re.compile(r"\bAND\b")
WEIGHT_AT_END = re.compile(r"(?:\s*:\s*[-+]?(?:\d+\.?|\d*\.\d+))?\s*$")
PLAIN = re.compile(r"(?:[^\\\[\]():|]|\\.)+")
WHEN = re.compile(r"\s*([-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?)\s*\]")
DEEPEST = 60  # of nested brackets; more are taken as signs, since descent would end at Python's own limit

Places = tuple[int, ...]
Node = Union[range, "Scheduled", "Alternate", list["Node"]]


@dataclass(frozen=True)
class Scheduled:
    """[before:after:when]"""

    before: Node
    after: Node
    when: str


@dataclass(frozen=True)
class Alternate:
    """[one|two|three], a step each"""

    options: list[Node]


def prompt_variants(text: str, steps: int = 20) -> list[Places]:
    """Every text that a sampler of `steps` steps would encode for the prompt `text`, each once.

    Returns: at least one variant; each is the places in `text` that it keeps, rising.
    """
    kept = _without(text, EXTRA_NETWORK, _without(text, COMMENT, list(range(len(text)))))
    variants: dict[Places, None] = {}
    for part in _divided(text, kept):
        letters = "".join(text[place] for place in part)
        for variant in _scheduled_texts(letters, steps):
            variants[tuple(part[index] for index in variant)] = None
    return list(variants)


def _without(text: str, pattern: re.Pattern[str], places: list[int]) -> list[int]:
    """Those of `places` that no match of `pattern` in their letters covers."""
    kept, begin = [], 0
    for found in pattern.finditer("".join(text[place] for place in places)):
        kept += places[begin : found.start()]
        begin = found.end()
    return kept + places[begin:]


def _divided(text: str, kept: list[int]) -> Iterator[list[int]]:
    """The parts between ANDs, each without its weight `` :1.2`` and the blanks at its end."""
    letters = "".join(text[place] for place in kept)
    begin = 0
    for end, following in [*((found.start(), found.end()) for found in AND.finditer(letters)), (len(letters), 0)]:
        shortened = WEIGHT_AT_END.search(letters[begin:end])
        yield kept[begin : begin + shortened.start()]
        begin = following


def _scheduled_texts(text: str, steps: int) -> Iterator[Places]:
    """The texts of the steps 1 to `steps`, first seen first; where the host's parser fails, `text` as it is."""
    parsed = _Reader(text).start()
    if parsed is None:
        yield tuple(range(len(text)))
        return
    for step in _changes(parsed, steps):
        yield tuple(_at_step(parsed, step, steps))


def _changes(node: Node, steps: int) -> list[int]:
    """The last step of each stretch in which the text stays the same, rising, `steps` included."""
    found = {steps}

    def visit(node: Node) -> None:
        if isinstance(node, Scheduled):
            if _step_of(node.when, steps) >= 1:
                found.add(_step_of(node.when, steps))
            visit(node.before)
            visit(node.after)
        elif isinstance(node, Alternate):
            found.update(range(1, steps + 1))
            visit(node.options)
        elif isinstance(node, list):
            for child in node:
                visit(child)

    visit(node)
    return sorted(found)


def _step_of(when: str, steps: int) -> int:
    """A number with a point is a share of the steps, one without is a step; none is beyond the last."""
    share = float(when) * steps if "." in when else float(when)
    return int(min(steps, share))


def _at_step(node: Node, step: int, steps: int) -> Iterator[int]:
    """The places that are encoded at `step`, 1 to `steps`."""
    if isinstance(node, range):
        yield from node
    elif isinstance(node, Scheduled):
        yield from _at_step(node.before if step <= _step_of(node.when, steps) else node.after, step, steps)
    elif isinstance(node, Alternate):
        yield from _at_step(node.options[(step - 1) % len(node.options)], step, steps)
    else:
        for child in node:
            yield from _at_step(child, step, steps)


class _Reader:
    """One reading of `text`; remembers where a bracket begins a construct, so that reading stays quadratic at worst."""

    def __init__(self, text: str):
        self.text = text
        self.known: dict[int, tuple[Node, int] | None] = {}
        self.depth = 0

    def start(self) -> Node | None:
        """The whole text; None where the host's grammar has no reading: a lone \\ at a line's end, a stray |."""
        nodes, place = [], 0
        while place < len(self.text):
            node, place = self.prompt(place)
            nodes.append(node)
            if place < len(self.text):
                if self.text[place] not in "[]():":
                    return None
                nodes.append(range(place, place + 1))
                place += 1
        return nodes

    def prompt(self, place: int) -> tuple[Node, int]:
        """The longest prompt from `place` on, maybe empty, and where it ends."""
        nodes = []
        while place < len(self.text):
            plain = PLAIN.match(self.text, place)
            found = (range(place, plain.end()), plain.end()) if plain else self.construct(place)
            if found is None:
                break
            nodes.append(found[0])
            place = found[1]
        return nodes, place

    def construct(self, place: int) -> tuple[Node, int] | None:
        """What a bracket at `place` begins, and where it ends; None when it is a sign of its own."""
        read = {"(": self.round, "[": self.square}.get(self.text[place])
        if read is None or self.depth >= DEEPEST:
            return None
        if place not in self.known:
            self.depth += 1
            self.known[place] = read(place)
            self.depth -= 1
        return self.known[place]

    def round(self, place: int) -> tuple[Node, int] | None:
        """( prompt ) or ( prompt : prompt ), kept whole for the emphasis parser."""
        first, end = self.prompt(place + 1)
        nodes = [range(place, place + 1), first]
        if self._sign(end) == ":":
            second, after = self.prompt(end + 1)
            nodes += [range(end, end + 1), second]
            end = after
        return ([*nodes, range(end, end + 1)], end + 1) if self._sign(end) == ")" else None

    def square(self, place: int) -> tuple[Node, int] | None:
        """[less], kept whole, or one of the two constructs that are resolved here."""
        first, end = self.prompt(place + 1)
        if self._sign(end) == "]":
            return [range(place, place + 1), first, range(end, end + 1)], end + 1
        if self._sign(end) == "|":
            return self.alternate(first, end)
        return self.scheduled(first, end)

    def alternate(self, first: Node, end: int) -> tuple[Node, int] | None:
        """The rest of [first|..|..] from its | at `end`."""
        options = [first]
        while self._sign(end) == "|":
            option, end = self.prompt(end + 1)
            options.append(option)
        return (Alternate(options), end + 1) if self._sign(end) == "]" else None

    def scheduled(self, first: Node, end: int) -> tuple[Node, int] | None:
        """The rest of [first:when] or [first:second:when] from its : at `end`."""
        before, after = [], first
        if self._sign(end) == ":" and not WHEN.match(self.text, end + 1):
            before = first
            after, end = self.prompt(end + 1)
        when = WHEN.match(self.text, end + 1) if self._sign(end) == ":" else None
        return (Scheduled(before, after, when[1]), when.end()) if when else None

    def _sign(self, place: int) -> str:
        return self.text[place : place + 1]
