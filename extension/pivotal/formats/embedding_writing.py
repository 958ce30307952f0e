"""Embeddings in every trainer's format, for whoever needs another than ours (`embedding_file.embedding_bytes`)."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from pivotal.errors import FormatError
from pivotal.formats.atomic import tensors_to_bytes
from pivotal.formats.embedding_file import DOUBLE, SECOND, embedding_bytes
from pivotal.formats.embedding_image import image_bytes

Files = dict[str, bytes]  # how a file's name ends after its stem -> its content
_STAR = 265  # CLIP's id of "*", which AUTOMATIC1111 stores beside the vectors
_SAFETENSORS = ".safetensors"


def embedding_files(word: str, vectors: Sequence[Tensor], style: str) -> Files:
    """The file or files of an embedding in a format of EMBEDDING_STYLES.

    Args:
        word: stored where the format holds it: Invoke, diffusers, AUTOMATIC1111.
        vectors: one (count, width) tensor per text encoder.

    Returns: what the names of the files end in, after their stem, and their content: {".pt": bytes}.

    Raises:
        FormatError: the format is unknown, or has no place for two text encoders.
    """
    if style not in EMBEDDING_STYLES:
        raise FormatError(f"{style!r} is no format of embeddings; there are {', '.join(EMBEDDING_STYLES)}.")
    return EMBEDDING_STYLES[style](word, [tensor.detach().float().contiguous() for tensor in vectors])


def _ours(_word: str, vectors: Sequence[Tensor]) -> Files:
    return {_SAFETENSORS: embedding_bytes(vectors, {})}


def _kohya_pt(_word: str, vectors: Sequence[Tensor]) -> Files:
    return {".pt": _pickled(_double(vectors) or {"emb_params": vectors[0]})}


def _a1111_pt(word: str, vectors: Sequence[Tensor]) -> Files:
    if len(vectors) == 2:
        raise FormatError("AUTOMATIC1111's .pt has no place for two text encoders; take safetensors for SDXL.")
    return {".pt": _pickled(_a1111(word, vectors[0]))}


def _a1111_png(word: str, vectors: Sequence[Tensor]) -> Files:
    return {".png": image_bytes(_double(vectors) or _a1111(word, vectors[0]))}


def _onetrainer(_word: str, vectors: Sequence[Tensor]) -> Files:
    return {_SAFETENSORS: tensors_to_bytes(_double(vectors) or {"emp_params": vectors[0]}, {})}


def _invoke(word: str, vectors: Sequence[Tensor]) -> Files:
    return {_SAFETENSORS: tensors_to_bytes(_double(vectors) or {word: vectors[0]}, {})}


def _diffusers(word: str, vectors: Sequence[Tensor]) -> Files:
    endings = (_SAFETENSORS, f"{SECOND}{_SAFETENSORS}")
    return {ending: tensors_to_bytes({word: tensor}, {}) for ending, tensor in zip(endings, vectors, strict=False)}


def _diffusers_bin(word: str, vectors: Sequence[Tensor]) -> Files:
    return {ending: _pickled({word: tensor}) for ending, tensor in zip((".bin", f"{SECOND}.bin"), vectors, strict=False)}


def _a1111(word: str, vectors: Tensor) -> dict[str, Any]:
    return {"string_to_token": {"*": _STAR}, "string_to_param": {"*": vectors}, "name": word, "step": None,
            "sd_checkpoint": None, "sd_checkpoint_name": None}


def _double(vectors: Sequence[Tensor]) -> dict[str, Tensor] | None:
    return dict(zip(DOUBLE, vectors, strict=True)) if len(vectors) == 2 else None


def _pickled(content: Mapping[str, Any]) -> bytes:
    """As torch wrote until 1.5: AUTOMATIC1111 1.10.1's torch.load answers None to the zip files of torch 2.13."""
    file = io.BytesIO()
    torch.save(content, file, _use_new_zipfile_serialization=False)
    return file.getvalue()


EMBEDDING_STYLES: Mapping[str, Callable[[str, Sequence[Tensor]], Files]] = {
    "safetensors": _ours, "kohya": _ours, "kohya-pt": _kohya_pt, "a1111-pt": _a1111_pt, "a1111-png": _a1111_png,
    "onetrainer": _onetrainer, "invoke": _invoke, "diffusers": _diffusers, "diffusers-bin": _diffusers_bin,
}
