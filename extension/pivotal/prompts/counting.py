"""The token counter: how many, which pieces, where the chunks end, and what would be cut or padded."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pivotal.prompts.chunks import caption_units, count_cells, prompt_units
from pivotal.prompts.layout import CHUNK, Cell
from pivotal.prompts.pieces import token_bytes
from pivotal.prompts.schedules import prompt_variants


def count_tokens(text: str, encoders: Mapping[str, Any], embeddings: Mapping[str, int], *,
                 kind: Literal["prompt", "caption"] = "prompt", wanted: int | None = None) -> dict[str, Any]:
    """What the page shows below `text`; everything in it can be JSON.

    Args:
        encoders: text encoder's name -> its tokenizer (see pieces.token_ids); at least one.
        embeddings: name -> number of vectors.
        kind: a prompt is counted as AUTOMATIC1111's counter shows it: without <lora:..>, the longest part between
            ANDs, the longest variant of its schedules in 20 steps. A caption is taken literally, but for BREAK.
        wanted: number of vectors that `text` shall fill, where it is an embedding's initial text.

    Returns:
        count, limit: of the encoder with the most tokens; the limit is 75, or the next multiple.
        encoders: name -> count, limit, chunks; a chunk has `pieces`: text, id (None for an embedding), start and end
            (letters of `text`, None where it cannot be told), embedding (its name or None), vectors (places taken).
        cut: the pieces beyond `wanted`.
        padded: how many tokens are missing to `wanted`, or without it to full chunks.
    """
    results: dict[int, dict[str, Any]] = {}
    for tokenizer in encoders.values():
        if id(tokenizer) not in results:
            results[id(tokenizer)] = _counted(text, tokenizer, embeddings, kind, breaks=wanted is None)
    by_name = {name: results[id(tokenizer)] for name, tokenizer in encoders.items()}
    longest = max(by_name.values(), key=lambda result: result["count"])
    pieces = [piece for chunk in longest["chunks"] for piece in chunk["pieces"]]
    missing = (wanted if wanted is not None else CHUNK * len(longest["chunks"])) - sum(p["vectors"] for p in pieces)
    return {
        "count": longest["count"],
        "limit": longest["limit"],
        "encoders": by_name,
        "cut": _beyond(pieces, wanted) if wanted is not None else [],
        "padded": max(0, missing),
    }


def _counted(text: str, tokenizer: Any, embeddings: Mapping[str, int], kind: str, *, breaks: bool) -> dict[str, Any]:
    """One encoder's part of the answer."""
    if kind == "caption":
        places: Sequence[int] = range(len(text))
        cells, count = count_cells(list(caption_units(text, tokenizer, embeddings, breaks=breaks)), tokenizer)
    else:
        readings = []
        for variant in prompt_variants(text):
            letters = "".join(text[place] for place in variant)
            readings.append((variant, *count_cells(list(prompt_units(letters, tokenizer, embeddings)), tokenizer)))
        places, cells, count = max(readings, key=lambda reading: reading[2])  # the first of equals, as the host
    return {
        "count": count,
        "limit": math.ceil(max(count, 1) / CHUNK) * CHUNK,
        "chunks": [{"pieces": _pieces(chunk, places, tokenizer)} for chunk in cells],
    }


def _pieces(cells: Sequence[Cell], places: Sequence[int], tokenizer: Any) -> list[dict[str, Any]]:
    """The pieces of one chunk, an embedding being one; `places` are where in the whole text the units' text stands."""
    pieces: list[dict[str, Any]] = []
    for cell in cells:
        unit = cell.unit
        if unit.name is not None and cell.vector > 0 and pieces:
            pieces[-1]["vectors"] += 1
            continue
        start, end = (places[unit.span[0]], places[unit.span[1] - 1] + 1) if unit.span else (None, None)
        pieces.append({
            "text": unit.name if unit.name is not None else _readable(tokenizer, unit.token),
            "id": unit.token if unit.name is None else None,
            "start": start,
            "end": end,
            "embedding": unit.name,
            "vectors": 1,
        })
    return pieces


def _readable(tokenizer: Any, token: int) -> str:
    """The piece as text; bytes that are no letter on their own, as of an emoji, show as the replacement sign."""
    return token_bytes(tokenizer, token).decode("utf-8", errors="replace")


def _beyond(pieces: Sequence[dict[str, Any]], wanted: int) -> list[dict[str, Any]]:
    """The pieces that begin behind the first `wanted` tokens."""
    behind, place = [], 0
    for piece in pieces:
        if place >= wanted:
            behind.append(piece)
        place += piece["vectors"]
    return behind
