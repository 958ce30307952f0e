"""Runs a text encoder over chunks of 75 tokens, with trained vectors in place of some tokens.

The token table is read, never copied, resized or written: a hook replaces rows of its output.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from pivotal.models.devices import is_cast, sent
from pivotal.models.families import Encoder
from pivotal.prompts.chunks import CHUNK, Chunk

BOS, EOS = 49406, 49407


def token_ids(chunks: Sequence[Chunk], pad_id: int) -> Tensor:
    """(rows, 77) ids: begin, the chunk, end, padding. Slots hold ordinary ids: some transformers versions find the
    end of the text by the largest id, so none may lie above it."""
    rows = [[BOS, *chunk.ids, EOS] + [pad_id] * (CHUNK - len(chunk.ids)) for chunk in chunks]
    return torch.tensor(rows, dtype=torch.long)


@contextmanager
def vectors_in_place(table: nn.Embedding, chunks: Sequence[Chunk], vectors: Mapping[str, Tensor]) -> Iterator[None]:
    """While it lasts, `table` answers with `vectors` where `chunks` have slots; gradients reach `vectors` only.

    Args:
        vectors: placeholder -> (count, width); every slot of `chunks` must be among them.
    """
    slots = [(row, slot) for row, chunk in enumerate(chunks) for slot in chunk.slots]
    if not slots:
        yield
        return
    rows = sent(torch.tensor([row for row, _ in slots]), table.weight.device)
    places = sent(torch.tensor([slot.position + 1 for _, slot in slots]), table.weight.device)  # 1: begin of text

    def write(_module: nn.Module, _inputs: object, output: Tensor) -> Tensor:
        values = torch.stack([vectors[slot.name][slot.vector] for _, slot in slots])
        # Where layers are cast anyway, vectors stay fp32: in an encoder's fp16 their small gradients would vanish.
        output = output.float() if is_cast(output.device) else output
        return output.index_put((rows, places), values.to(output.device, output.dtype))

    handle = table.register_forward_hook(write)
    try:
        yield
    finally:
        handle.remove()


def encode_chunks(module: nn.Module, table: nn.Embedding, rules: Encoder, chunks: Sequence[Chunk],
                  vectors: Mapping[str, Tensor], clip_skip: int) -> tuple[Tensor, Tensor | None]:
    """Hidden states (rows, 77, width) and, where the encoder has a projection, pooled output (rows, width)."""
    ids = sent(token_ids(chunks, rules.pad_id), table.weight.device)
    with vectors_in_place(table, chunks, vectors):
        output = module(ids, output_hidden_states=True)
    layer = rules.layer + (clip_skip - 1 if rules.clip_skip else 0)
    states = output.hidden_states[-layer]
    if rules.final_norm:
        inner = getattr(module, "text_model", module)
        states = inner.final_layer_norm(states)
    return states, getattr(output, "text_embeds", None)
