"""Prompts and captions as chunks of token ids, with slots where an embedding's vectors go."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pivotal.prompts.emphasis import Segment, parse_emphasis, split_at_breaks
from pivotal.prompts.layout import CHUNK, Cell, Unit, lay_out
from pivotal.prompts.pieces import token_ids
from pivotal.prompts.placeholders import find_placeholders
from pivotal.prompts.spans import token_spans

FILLER = 0  # stands at a slot; below the ids of start and end, which some encoders look for to pool
COMMA_BACKTRACK = 20  # AUTOMATIC1111's default of "prompt word wrap length limit"


@dataclass(frozen=True)
class Slot:
    """Where one vector of an embedding goes."""

    position: int  # 0..74 in its chunk, start token not counted
    name: str
    vector: int


@dataclass(frozen=True)
class Chunk:
    """At most 75 tokens, without start, end or padding."""

    ids: tuple[int, ...]  # FILLER at slots
    weights: tuple[float, ...]  # as many
    slots: tuple[Slot, ...]


@dataclass(frozen=True)
class TokenizedPrompt:
    """A text as an encoder takes it."""

    chunks: tuple[Chunk, ...]  # at least one, maybe empty
    count: int  # as the host's counter says: 75 for every chunk but the last


def tokenize_prompt(prompt: str, tokenizer: Any, embeddings: Mapping[str, int], *, emphasis: bool = True,
                    comma_backtrack: int = COMMA_BACKTRACK) -> TokenizedPrompt:
    """`prompt` as AUTOMATIC1111 1.10.1 encodes it, once <tags>, AND and schedules are resolved (see schedules.py).

    Args:
        tokenizer: see pieces.token_ids.
        embeddings: name -> number of vectors; found by their token ids, the longest first, so in any case.
        emphasis: whether brackets are weights; without, they and BREAK are words.
        comma_backtrack: see layout.lay_out.
    """
    units = prompt_units(prompt, tokenizer, embeddings, emphasis=emphasis)
    return _tokenized(units, tokenizer, comma_backtrack)


def tokenize_caption(caption: str, tokenizer: Any, placeholders: Mapping[str, int], *, emphasis: bool = False,
                     longest: int | None = None, comma_backtrack: int = COMMA_BACKTRACK) -> TokenizedPrompt:
    """`caption` for training: placeholders (name -> number of vectors) are found as words.

    Args:
        emphasis: whether brackets are weights, as in prompts; without, they are words.
        longest: chunks of 75 tokens that are kept; None: all, and then BREAK ends a chunk as in prompts.
        comma_backtrack: see layout.lay_out.
    """
    units = caption_units(caption, tokenizer, placeholders, emphasis=emphasis, breaks=longest is None)
    prompt = _tokenized(units, tokenizer, comma_backtrack)
    if longest is None or len(prompt.chunks) <= longest:
        return prompt
    return TokenizedPrompt(prompt.chunks[:longest], CHUNK * longest)


def prompt_units(prompt: str, tokenizer: Any, embeddings: Mapping[str, int], *,
                 emphasis: bool = True) -> Iterator[Unit | None]:
    """The units of `prompt` in order; None is a BREAK."""
    known = _by_first_id(tokenizer, embeddings)
    segments = parse_emphasis(prompt) if emphasis else [Segment(prompt, 1.0, list(range(len(prompt))))]
    for segment in segments:
        if emphasis and segment.is_break:
            yield None
            continue
        for found in _segment_units(segment, tokenizer, known):
            yield _sized(found, embeddings)


def caption_units(caption: str, tokenizer: Any, placeholders: Mapping[str, int], *,
                  emphasis: bool = False, breaks: bool = False) -> Iterator[Unit | None]:
    """The units of `caption` in order; None is a BREAK, which is a word without `emphasis` and `breaks`."""
    segments = (parse_emphasis(caption) if emphasis else split_at_breaks(caption) if breaks
                else [Segment(caption, 1.0, list(range(len(caption))))])
    for segment in segments:
        if (emphasis or breaks) and segment.is_break:
            yield None
            continue
        yield from _segment_caption(segment, tokenizer, placeholders)


def _segment_caption(segment: Segment, tokenizer: Any, placeholders: Mapping[str, int]) -> Iterator[Unit]:
    begin, text, places = 0, segment.text, segment.places
    for start, end, name in [*find_placeholders(text, placeholders), (len(text), len(text), None)]:
        yield from _segment_units(Segment(text[begin:start], segment.weight, places[begin:start]), tokenizer, {})
        if name is not None:
            first = token_ids(tokenizer, name)[:1] or [FILLER]
            yield _sized(Unit(first[0], segment.weight, (places[start], places[end - 1] + 1), name), placeholders)
        begin = end


def count_cells(units: Sequence[Unit | None], tokenizer: Any) -> tuple[list[list[Cell]], int]:
    """`units` in chunks, with the host's default settings, and its count."""
    return lay_out(units, comma=token_ids(tokenizer, ",")[0], comma_backtrack=COMMA_BACKTRACK)


def _by_first_id(tokenizer: Any, embeddings: Mapping[str, int]) -> dict[int, list[tuple[list[int], str]]]:
    """The ids and name of the embeddings that begin with an id, the longest first; a folder may hold thousands."""
    known: dict[int, list[tuple[list[int], str]]] = {}
    for name in embeddings:
        ids = token_ids(tokenizer, name)
        if ids:
            known.setdefault(ids[0], []).append((ids, name))
    for candidates in known.values():
        candidates.sort(key=lambda pair: len(pair[0]), reverse=True)
    return known


def _segment_units(segment: Segment, tokenizer: Any,
                   known: Mapping[int, Sequence[tuple[list[int], str]]]) -> Iterator[Unit]:
    """The tokens of one stretch, and the embeddings whose ids stand there; `known` as from `_by_first_id`."""
    ids = token_ids(tokenizer, segment.text)
    spans = token_spans(segment.text, ids, tokenizer)
    place = 0
    while place < len(ids):
        name, length = next(((name, len(name_ids)) for name_ids, name in known.get(ids[place], ())
                             if ids[place : place + len(name_ids)] == name_ids), (None, 1))
        covered = [span for span in spans[place : place + length] if span]
        span = (segment.places[covered[0][0]], segment.places[covered[-1][1] - 1] + 1) if covered else None
        yield Unit(ids[place], segment.weight, span, name)
        place += length


def _sized(unit: Unit, vectors: Mapping[str, int]) -> Unit:
    """`unit` with the number of vectors of its name; a chunk has no room for more than 75, and hosts fail on more."""
    if unit.name is None:
        return unit
    return Unit(unit.token, unit.weight, unit.span, unit.name, max(1, min(vectors[unit.name], CHUNK)))


def _tokenized(units: Iterator[Unit | None], tokenizer: Any, comma_backtrack: int) -> TokenizedPrompt:
    chunks, count = lay_out(units, comma=token_ids(tokenizer, ",")[0], comma_backtrack=comma_backtrack)
    return TokenizedPrompt(tuple(_chunk(cells) for cells in chunks), count)


def _chunk(cells: Sequence[Cell]) -> Chunk:
    return Chunk(
        ids=tuple(FILLER if cell.unit.name is not None else cell.unit.token for cell in cells),
        weights=tuple(cell.unit.weight for cell in cells),
        slots=tuple(Slot(position, cell.unit.name, cell.vector) for position, cell in enumerate(cells)
                    if cell.unit.name is not None),
    )
