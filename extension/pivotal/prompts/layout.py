"""How a host lays a long prompt out in chunks of 75."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

CHUNK = 75


@dataclass(frozen=True)
class Unit:
    """What stays together: one token, or all vectors of an embedding."""

    token: int  # the first id that the text itself has here
    weight: float
    span: tuple[int, int] | None  # begin and end in the text, where it can be told
    name: str | None = None  # of the embedding
    vectors: int = 1  # 1..75


@dataclass(frozen=True)
class Cell:
    """One of the 75 places of a chunk."""

    unit: Unit
    vector: int  # 0..vectors - 1


def lay_out(units: Iterable[Unit | None], *, comma: int, comma_backtrack: int) -> tuple[list[list[Cell]], int]:
    """`units`, of which None ends a chunk, in chunks, and the host's count of tokens: every chunk but the last is 75.

    As TextConditionalModel.tokenize_line of AUTOMATIC1111 (modules/sd_hijack_clip.py, v1.10.1, 82a973c0), but for one
    thing: what is moved behind a comma takes its embeddings along; there their vectors stay in the chunk before.

    Args:
        comma: id of the comma.
        comma_backtrack: a chunk that ends within so many tokens of its last comma, ends at that comma; 0 is never.
    """
    chunks: list[list[Cell]] = []
    chunk: list[Cell] = []
    last_comma = -1
    for unit in units:
        if unit is None:
            chunks.append(chunk)
            chunk, last_comma = [], -1
            continue
        if unit.token == comma:
            last_comma = len(chunk)
        elif len(chunk) == CHUNK and last_comma != -1 and len(chunk) - last_comma <= comma_backtrack:
            chunks.append(chunk[: last_comma + 1])
            chunk, last_comma = chunk[last_comma + 1 :], -1
        if len(chunk) + unit.vectors > CHUNK:
            chunks.append(chunk)
            chunk, last_comma = [], -1
        chunk += [Cell(unit, vector) for vector in range(unit.vectors)]
    if chunk or not chunks:
        return [*chunks, chunk], CHUNK * len(chunks) + len(chunk)
    return chunks, CHUNK * len(chunks)
