"""Keeps what the text encoders answer, while nothing of theirs is trained."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor

from pivotal.models.diffusion import Conditioning, DiffusionModel, Vectors
from pivotal.models.layers import UNET
from pivotal.prompts.chunks import Chunk, TokenizedPrompt
from pivotal.training.part import Part

MOST_BYTES = 2**30  # shuffled captions are ever new ones; what was asked for longest ago goes first

_Row = tuple[Tensor, Tensor | None]


def text_stays(parts: Sequence[Part]) -> bool:
    """Whether the same prompt gives the same conditioning all through the run: only the UNet's network learns."""
    return not any(part.learns and (part.trainable.name != UNET or part.trainable.vectors()) for part in parts)


class TextCache:
    """Conditionings by chunk of 75 tokens, on the CPU.

    Each chunk is encoded alone, so that what is kept does not depend, to the last bit, on the batch in which it came
    first: a resumed run meets the same numbers as an unbroken one.
    """

    def __init__(self, most_bytes: int = MOST_BYTES):
        self._most, self._bytes = most_bytes, 0
        self._rows: OrderedDict[Chunk, _Row] = OrderedDict()
        self.encoded = 0  # chunks, so that a test can tell

    @torch.no_grad()
    def encode(self, model: DiffusionModel, prompts: Sequence[TokenizedPrompt], vectors: Vectors) -> Conditioning:
        """As `DiffusionModel.encode_prompts`."""
        chunks = max(len(prompt.chunks) for prompt in prompts)
        rows = [self._row(model, chunk, vectors) for prompt in prompts
                for chunk in [*prompt.chunks, *[Chunk((), (), ())] * (chunks - len(prompt.chunks))]]
        hidden = torch.cat([state for state, _ in rows])
        hidden = hidden.reshape(len(prompts), -1, hidden.shape[-1]).to(model.device)
        pooled = None if rows[0][1] is None else torch.cat([row for _, row in rows[::chunks]]).to(model.device)
        return Conditioning(hidden, pooled)

    def _row(self, model: DiffusionModel, chunk: Chunk, vectors: Vectors) -> _Row:
        if chunk in self._rows:
            self._rows.move_to_end(chunk)
            return self._rows[chunk]
        told = model.encode_prompts([TokenizedPrompt((chunk,), len(chunk.ids))], vectors)
        row = (told.hidden.cpu(), None if told.pooled is None else told.pooled.cpu())
        self.encoded += 1
        self._rows[chunk] = row
        self._bytes += _size(row)
        while self._bytes > self._most and len(self._rows) > 1:
            self._bytes -= _size(self._rows.popitem(last=False)[1])
        return row


def _size(row: _Row) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in row if tensor is not None)
