"""Keeps what the text encoders answer, while nothing of theirs is trained."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import torch

from pivotal.models.devices import sent
from pivotal.models.diffusion import Conditioning, DiffusionModel, Vectors
from pivotal.models.layers import UNET
from pivotal.prompts.chunks import Chunk, TokenizedPrompt
from pivotal.training.part import Part
from pivotal.training.settings import Settings
from pivotal.training.text_files import Row, TextFiles, encoders_alone, text_mark

MOST_BYTES = 2**30  # shuffled captions are ever new ones; what was asked for longest ago goes first


def text_stays(parts: Sequence[Part]) -> bool:
    """Whether the same prompt gives the same conditioning all through the run: only the UNet's network learns."""
    return not any(part.learns and (part.trainable.name != UNET or part.trainable.vectors()) for part in parts)


def text_cache_of(model: DiffusionModel, parts: Sequence[Part], settings: Settings) -> TextCache | None:
    """Where the answers of a run's text encoders are kept; None where they change, or nothing shall be kept."""
    if not settings.cache_text or not text_stays(parts):
        return None
    if settings.text_folder is None or not encoders_alone(parts):
        return TextCache()
    return TextCache(files=TextFiles(settings.text_folder, text_mark(model, settings.compute)))


class TextCache:
    """Conditionings by chunk of 75 tokens, on the CPU.

    Each chunk is encoded alone, so that what is kept does not depend, to the last bit, on the batch in which it came
    first: a resumed run meets the same numbers as an unbroken one.

    Args:
        files: where they are kept for later runs, too.
    """

    def __init__(self, most_bytes: int = MOST_BYTES, files: TextFiles | None = None):
        self._most, self._bytes, self._files = most_bytes, 0, files
        self._rows: OrderedDict[Chunk, Row] = OrderedDict()
        self.encoded = 0  # chunks, so that a test can tell

    def clear(self) -> None:
        """Forgets what was kept: the text encoders compute otherwise now."""
        self._rows.clear()
        self._bytes, self._files = 0, None  # which are named by how they computed

    @torch.no_grad()
    def encode(self, model: DiffusionModel, prompts: Sequence[TokenizedPrompt], vectors: Vectors) -> Conditioning:
        """As `DiffusionModel.encode_prompts`."""
        chunks = max(len(prompt.chunks) for prompt in prompts)
        rows = [self._row(model, chunk, vectors) for prompt in prompts
                for chunk in [*prompt.chunks, *[Chunk((), (), ())] * (chunks - len(prompt.chunks))]]
        hidden = torch.cat([state for state, _ in rows])
        hidden = sent(hidden.reshape(len(prompts), -1, hidden.shape[-1]), model.device)
        pooled = None if rows[0][1] is None else sent(torch.cat([row for _, row in rows[::chunks]]), model.device)
        return Conditioning(hidden, pooled)

    def _row(self, model: DiffusionModel, chunk: Chunk, vectors: Vectors) -> Row:
        if chunk in self._rows:
            self._rows.move_to_end(chunk)
            return self._rows[chunk]
        row = self._files.get(chunk, vectors) if self._files else None
        if row is None:
            told = model.encode_prompts([TokenizedPrompt((chunk,), len(chunk.ids))], vectors)
            row = (told.hidden.cpu(), None if told.pooled is None else told.pooled.cpu())
            self.encoded += 1
            if self._files:
                self._files.put(chunk, vectors, row)
        self._rows[chunk] = row
        self._bytes += _size(row)
        while self._bytes > self._most and len(self._rows) > 1:
            self._bytes -= _size(self._rows.popitem(last=False)[1])
        return row


def _size(row: Row) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in row if tensor is not None)
