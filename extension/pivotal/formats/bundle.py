"""Embeddings inside a network's file: ``bundle_emb.WORD.what`` (AUTOMATIC1111's pull request 13568, read by SD.Next too)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from pivotal.errors import FormatError

PREFIX = "bundle_emb."
SINGLE = "string_to_param.*"
DOUBLE = ("clip_l", "clip_g")
# OneTrainer bundles words with dots, which hosts cut at the first; so what follows the word is told by its own names.
_KEY = re.compile(r"bundle_emb\.(.+?)\.(string_to_(?:param|token)\..+|(?:emb_params|emp_params|clip_l|clip_g)(?:_out)?|[^.]+)")
_EATEN = re.compile(r"<\w+:[^>]+>")  # the prompt's syntax for extra networks


def word_problem(word: str) -> str | None:
    """Why hosts cannot read an embedding of this name from a bundle, in words; None when they can."""
    if not word.strip() or word != word.strip():
        return f"{word!r} is empty or has blanks around it"
    if "." in word:
        return f"{word!r} has a dot; AUTOMATIC1111 cuts the name there, and may refuse the whole file. Take it out"
    if not word.isprintable():
        return f"{word!r} has a character that cannot be shown"
    if _EATEN.search(word):
        return f"{word!r} is written as a prompt calls a network, and would be read as one"
    return None


def bundle_keys(word: str, vectors: Sequence[Tensor]) -> dict[str, Tensor]:
    """One embedding under the names that AUTOMATIC1111 1.10.1 and SD.Next read, fp32.

    Args:
        vectors: (count, width) of each text encoder: one for SD 1 and SD 2, two for SDXL.

    Raises:
        FormatError: the word breaks the file, or the vectors are none.
    """
    problem = word_problem(word)
    if problem:
        raise FormatError(f"The word {problem}.")
    if len(vectors) not in (1, 2) or len({len(tensor) for tensor in vectors}) > 1:
        raise FormatError(f"{word}: expected vectors of one text encoder, or as many of each of two.")
    if not all(tensor.dim() == 2 and len(tensor) and torch.isfinite(tensor).all() for tensor in vectors):
        raise FormatError(f"{word}: its vectors are none, or hold values that are not finite numbers.")
    names = (SINGLE,) if len(vectors) == 1 else DOUBLE
    return {f"{PREFIX}{word}.{name}": tensor.detach().float() for name, tensor in zip(names, vectors, strict=True)}


def split_bundle_key(key: str) -> tuple[str, str] | None:
    """The word and what of it ``bundle_emb.WORD.what`` holds; None for keys that are no bundle's."""
    match = _KEY.fullmatch(key)
    return (match[1], match[2]) if match else None


def bundled_vectors(parts: Mapping[str, Tensor]) -> tuple[Tensor, ...] | None:
    """The vectors of one bundled embedding, fp32, by what its keys say; None when they hold none that fit together.

    ``clip_l`` with ``clip_g``; or one of ``string_to_param.*``, ``emb_params``, ``emp_params``, ``clip_l``, or the only
    tensor there is. OneTrainer's ``_out`` vectors are added after the text encoder, which no host does.
    """
    usable = {name: tensor for name, tensor in parts.items()
              if not name.endswith("_out") and not name.startswith("string_to_token") and tensor.dim() in (1, 2)
              and tensor.is_floating_point()}
    if set(DOUBLE) <= set(usable):
        chosen = [usable[name] for name in DOUBLE]
    elif len(usable) == 1 and DOUBLE[1] not in usable:
        chosen = list(usable.values())
    else:
        return None
    vectors = tuple(tensor.detach().float().reshape(-1, tensor.shape[-1]).clone() for tensor in chosen)
    good = all(len(tensor) and torch.isfinite(tensor).all() for tensor in vectors)
    return vectors if good and len({len(tensor) for tensor in vectors}) == 1 else None
