"""What the text encoders answer, as files that later runs find again."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from pivotal.formats.kept_files import get_kept, put_kept
from pivotal.formats.tensor_bytes import raw_bytes
from pivotal.models.diffusion import DiffusionModel, Vectors
from pivotal.models.layers import UNET
from pivotal.prompts.chunks import Chunk
from pivotal.training.part import Part

FORMAT = 1  # of the files; another number makes all of them anew
Row = tuple[Tensor, Tensor | None]  # (1, 77, width) hidden states; (1, width) pooled where the family has it


def encoders_alone(parts: Sequence[Part]) -> bool:
    """Whether nothing of the run is on the text encoders, learning or not: else an answer is not theirs."""
    return all(part.trainable.name == UNET or part.trainable.vectors() for part in parts)


def text_mark(model: DiffusionModel, compute: torch.dtype) -> str:
    """Tells apart all that an answer depends on but its chunk and the embeddings in it: hex. Reads every weight once."""
    digest = hashlib.sha256(f"{FORMAT}{compute}{model.dtype}{model.device.type}{model.clip_skip}{model.family.name}".encode())
    for encoder in model.text_encoders:
        digest.update(repr(encoder.rules).encode())
        for name, tensor in sorted(encoder.module.state_dict().items()):
            digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
            digest.update(raw_bytes(tensor))
    return digest.hexdigest()


class TextFiles:
    """One file for each chunk of 75 tokens, named by all that it depends on: an edit of any of it makes another name.

    Args:
        mark: see `text_mark`.
    """

    def __init__(self, folder: Path, mark: str):
        self._folder, self._mark = folder, mark

    def get(self, chunk: Chunk, vectors: Vectors) -> Row | None:
        """What was put there; None when it is missing or damaged, which costs the encoding anew."""
        tensors = get_kept(self._path(chunk, vectors))
        return None if tensors is None or "hidden" not in tensors else (tensors["hidden"], tensors.get("pooled"))

    def put(self, chunk: Chunk, vectors: Vectors, row: Row) -> None:
        """Keeps it; where the disk is full or cannot be written, the run goes on without."""
        tensors = {"hidden": row[0]} | ({} if row[1] is None else {"pooled": row[1]})
        with contextlib.suppress(OSError):
            put_kept(self._path(chunk, vectors), tensors)

    def _path(self, chunk: Chunk, vectors: Vectors) -> Path:
        digest = hashlib.sha256(f"{self._mark}{chunk}".encode())
        for name in sorted({slot.name for slot in chunk.slots}):
            for tensor in vectors.get(name, ()):
                digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
                digest.update(raw_bytes(tensor))
        return self._folder / f"{digest.hexdigest()}.safetensors"
