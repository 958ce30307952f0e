"""Where an embedding's vectors start."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from pivotal.prompts.pieces import token_ids

Fill = Literal["pad", "repeat", "stretch", "random"]


def vector_count(tokenizer: Any, text: str, token_count: int | None) -> int:
    """How many vectors an embedding gets: what was asked for, else as many as its initial text has tokens (1..75)."""
    return token_count or min(max(len(token_ids(tokenizer, text)), 1), 75)


def initial_ids(ids: Sequence[int], count: int, fill: Fill, pad_id: int) -> list[int | None]:
    """Which token each of `count` vectors starts from; None is noise.

    Too long: cut. Too short: `pad` adds the token of ``*`` (OneTrainer), `repeat` begins again (kohya), `stretch`
    gives token floor(i x length / count) to vector i (AUTOMATIC1111), `random` leaves the rest to noise.
    """
    if len(ids) >= count:
        return list(ids[:count])
    if fill == "repeat" and ids:
        return [ids[index % len(ids)] for index in range(count)]
    if fill == "stretch" and ids:
        return [ids[index * len(ids) // count] for index in range(count)]
    rest = None if fill == "random" else pad_id
    return [*ids, *[rest] * (count - len(ids))]


def row_norms(table: Tensor) -> Tensor:
    """(vocabulary,) fp32: the length of each row of a token table (vocabulary, width)."""
    return table.detach().float().norm(dim=1)


def median_norm(table: Tensor) -> float:
    """Median length of a token table's rows; (vocabulary, width). For CLIP-L about 0.4."""
    return row_norms(table).median().item()


def initial_vectors(table: Tensor, ids: Sequence[int | None], generator: torch.Generator) -> Tensor:
    """(count, width) fp32: rows of `table`, or noise of the table's median length where the id is None."""
    width = table.shape[1]
    rows = []
    for token in ids:
        if token is None:
            noise = torch.randn(width, generator=generator)
            rows.append(noise / noise.norm() * median_norm(table))
        else:
            rows.append(table[token].detach().float().cpu())
    return torch.stack(rows).clone()
