"""Embedding files of every trainer, read; and the one form that every host reads, written.

| writer | holds |
|---|---|
| AUTOMATIC1111 ``.pt`` | ``string_to_param`` {"*": (n, width)} |
| AUTOMATIC1111 picture | the same as JSON, in a PNG's text and in its pixels |
| kohya ``.safetensors``, ``.pt`` | ``emb_params``; SDXL ``clip_l`` and ``clip_g`` |
| OneTrainer | ``emp_params`` (sic); SDXL ``clip_l`` and ``clip_g``; perhaps ``..._out``, added behind the text encoder |
| Invoke | {word: (n, width)}; SDXL ``clip_l`` and ``clip_g`` |
| diffusers ``learned_embeds`` ``.safetensors``, ``.bin`` | {word: (n, width)}; SDXL a second file ``learned_embeds_2`` |
| diffusers' advanced script for SDXL, at first, and Replicate's | ``text_encoders_0`` and ``text_encoders_1`` |
| a LoRA with bundled embeddings | ``bundle_emb.WORD.string_to_param.*``; SDXL ``.clip_l`` and ``.clip_g`` |
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors import SafetensorError
from torch import Tensor

from pivotal.errors import FormatError
from pivotal.formats.atomic import tensors_to_bytes
from pivotal.formats.bundle import PREFIX, bundled_vectors, split_bundle_key
from pivotal.formats.embedding_image import SUFFIXES as PICTURES
from pivotal.formats.embedding_image import read_image
from pivotal.formats.network_names import place_of
from pivotal.formats.reading import checked_size, read_pickled, read_safetensors

log = logging.getLogger(__name__)

LARGEST = 64 * 2**20  # bytes; 75 vectors of SDXL in fp32 are 0.6 MB
SINGLE = ("emb_params", "emp_params")  # kohya and the hosts; OneTrainer (sic)
DOUBLE = ("clip_l", "clip_g")
_EARLIER = dict(zip(("text_encoders_0", "text_encoders_1"), DOUBLE, strict=True))
SUFFIXES = (".safetensors", ".pt", ".bin", *PICTURES)
SECOND = "_2"  # ends the name of diffusers' second file


def embedding_bytes(vectors: Sequence[Tensor], metadata: Mapping[str, str]) -> bytes:
    """The file's content: ``emb_params`` for one text encoder, ``clip_l`` and ``clip_g`` for SDXL's two, fp32.

    Args:
        vectors: one (count, width) tensor per text encoder.
    """
    names = SINGLE[:1] if len(vectors) == 1 else DOUBLE
    return tensors_to_bytes({name: tensor.float() for name, tensor in zip(names, vectors, strict=True)}, metadata)


def read_embedding(path: Path, encoders: int, name: str | None = None) -> tuple[Tensor, ...]:
    """The vectors of an embedding file, without running anything in it; the formats are those in this module's head.

    Args:
        path: of the file; of diffusers' two files for SDXL the first, or their folder.
        encoders: how many text encoders the checkpoint has: 1, or 2 for SDXL.
        name: which of the embeddings that are bundled in a LoRA; None: the only one.

    Returns: one (count, width) fp32 tensor per text encoder.

    Raises:
        FormatError: with what the file holds instead.
    """
    path = _file_of(path)
    tensors = _tensors(path, name)
    second = path.with_name(f"{path.stem}{SECOND}{path.suffix}")
    if encoders == 2 and len(tensors) == 1 and second.is_file():
        tensors = dict(zip(DOUBLE, (next(iter(tensors.values())), *_tensors(second, None).values()), strict=False))
    names = DOUBLE if encoders == 2 else _single_name(path, tensors)
    missing = [key for key in names if key not in tensors]
    if missing:
        raise FormatError(f"{path.name} holds {', '.join(map(repr, list(tensors)[:4]))} but no {missing[0]!r}: it is not "
                          f"an embedding for {'SDXL' if encoders == 2 else 'SD 1 or SD 2'}.")
    found = tuple(_vectors(path, key, tensors[key]) for key in names)
    if len({len(tensor) for tensor in found}) > 1:
        raise FormatError(f"{path.name}: {' and '.join(DOUBLE)} have {' and '.join(str(len(t)) for t in found)} vectors; "
                          "they must have the same number.")
    return found


def encoders_in(path: Path, name: str | None = None) -> int:
    """For how many text encoders an embedding file is: 2 when it is SDXL's, else 1.

    Raises:
        FormatError: as `read_embedding`.
    """
    path = _file_of(path)
    tensors = _tensors(path, name)
    pair = path.with_name(f"{path.stem}{SECOND}{path.suffix}").is_file() and len(tensors) == 1
    return 2 if pair or DOUBLE[1] in tensors else 1


def bundled_words(path: Path) -> list[str]:
    """The words of the embeddings that are bundled in a LoRA; empty for other files.

    Raises:
        FormatError: a .safetensors file is damaged.
    """
    return list(_bundle(path)) if path.suffix.lower() == ".safetensors" else []


def _file_of(path: Path) -> Path:
    """The file to read of a folder that holds an embedding: the only one, or the first of diffusers' two."""
    if not path.is_dir():
        return path
    files = sorted(file for file in path.iterdir() if file.suffix.lower() in SUFFIXES and file.is_file())
    firsts = [file for file in files if file.with_name(f"{file.stem.removesuffix(SECOND)}{file.suffix}") not in files
              or not file.stem.endswith(SECOND)]
    if len(firsts) != 1:
        raise FormatError(f"{path} holds {len(firsts)} files that may be an embedding; give one of them.")
    return firsts[0]


def _single_name(path: Path, tensors: Mapping[str, Any]) -> tuple[str, ...]:
    for name in SINGLE:
        if name in tensors:
            return (name,)
    if set(DOUBLE) <= set(tensors):
        raise FormatError(f"{path.name} is an embedding for SDXL (it holds clip_l and clip_g); "
                          "the checkpoint is SD 1 or SD 2.")
    if len(tensors) != 1:
        raise FormatError(f"{path.name} holds {len(tensors)} tensors ({', '.join(list(tensors)[:4])}); "
                          "an embedding for SD 1 or SD 2 holds one.")
    return tuple(tensors)


def _vectors(path: Path, name: str, tensor: Any) -> Tensor:
    if not isinstance(tensor, Tensor) or tensor.dim() not in (1, 2) or not tensor.is_floating_point():
        shape = tuple(tensor.shape) if isinstance(tensor, Tensor) else type(tensor).__name__
        raise FormatError(f"{path.name}: {name!r} is {shape}; expected (vectors, width) of floating point numbers.")
    vectors = tensor.detach().float().reshape(-1, tensor.shape[-1]).clone()
    if not len(vectors) or not torch.isfinite(vectors).all():
        raise FormatError(f"{path.name}: {name!r} is empty or holds values that are not finite numbers.")
    return vectors


def _tensors(path: Path, name: str | None) -> dict[str, Any]:
    suffix = path.suffix.lower()
    if suffix == ".safetensors":
        bundle = _bundle(path)
        if bundle or name is not None:
            return _chosen(path, bundle, name)
    checked_size(path, LARGEST, "an embedding")
    if suffix == ".safetensors":
        content: Mapping[Any, Any] = read_safetensors(path)[0]
        if any(place_of(key) for key in content):
            raise FormatError(f"{path.name} is a LoRA without an embedding in it.")
    else:
        content = read_image(path) if suffix in PICTURES else read_pickled(path)
    if isinstance(content.get("string_to_param"), Mapping):
        content = content["string_to_param"]
    tensors = {str(key): value for key, value in content.items() if isinstance(value, Tensor)}
    outs = [key for key in tensors if key.endswith("_out") and key.removesuffix("_out") in tensors]
    if outs:
        log.info("%s: %s left out; no host adds vectors behind the text encoder.", path.name, " and ".join(outs))
    return {_EARLIER.get(key, key): tensor for key, tensor in tensors.items() if key not in outs}


def _bundle(path: Path) -> dict[str, dict[str, Tensor]]:
    """Word -> what it holds, read alone from a LoRA of any size; empty without a bundle."""
    checked_size(path, 2**63, "a file")
    found: dict[str, dict[str, Tensor]] = {}
    try:
        with safetensors.safe_open(str(path), framework="pt", device="cpu") as opened:
            for key in opened.keys():
                word = split_bundle_key(key) if key.startswith(PREFIX) else None
                if word:
                    found.setdefault(word[0], {})[word[1]] = opened.get_tensor(key).clone()
    except (SafetensorError, ValueError) as error:
        raise FormatError(f"{path.name} is not a whole safetensors file: {error}") from error
    except OSError as error:
        raise FormatError(f"{path} cannot be read: {error.strerror or error}") from error
    return found


def _chosen(path: Path, bundle: Mapping[str, Mapping[str, Tensor]], name: str | None) -> dict[str, Tensor]:
    if not bundle:
        raise FormatError(f"{path.name} has no embeddings bundled in it, so none is called {name!r}.")
    if name is None and len(bundle) > 1:
        raise FormatError(f"{path.name} has {len(bundle)} embeddings bundled in it; say which: {', '.join(bundle)}.")
    if name is not None and name not in bundle:
        raise FormatError(f"{path.name} has no embedding {name!r} bundled in it; it has {', '.join(bundle)}.")
    word = next(iter(bundle)) if name is None else name
    vectors = bundled_vectors(bundle[word])
    if vectors is None:
        raise FormatError(f"{path.name}: its embedding {word} holds {', '.join(bundle[word])}, which fit no family.")
    return dict(zip(DOUBLE if len(vectors) == 2 else SINGLE, vectors, strict=False))
