"""What the tools that make networks share: ranks, devices, metadata, and words about them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from pivotal.errors import OptionError
from pivotal.formats.network_delta import alpha_of, rank_of
from pivotal.formats.network_file import NetworkFile
from pivotal.tools.results import path_of

SUFFIX = ".safetensors"
SHOWN = 3
_OF_THE_FILE = ("sshs_", "modelspec.hash", "modelspec.date", "modelspec.thumbnail", "ss_session_id")  # true of the old file only
_BASES: Mapping[str, Mapping[str, str]] = {
    "sd1": {"ss_base_model_version": "sd_v1", "ss_v2": "False"},
    "sd2": {"ss_base_model_version": "sd_v2", "ss_v2": "True"},
    "sdxl": {"ss_base_model_version": "sdxl_base_v1-0", "ss_v2": "False"},
}


def device_of(name: str) -> torch.device:
    """Raises OptionError when there is no such device here."""
    if name == "cuda" and not torch.cuda.is_available():
        raise OptionError({"device": "there is no CUDA device that torch can use; take cpu"})
    return torch.device(name)


def optional_path(text: str) -> Path | None:
    return path_of("checkpoint", text) if text.strip() else None


def rank_for(shape: tuple[int, ...], rank: int, conv_rank: int | None) -> int:
    """The rank for a weight of that shape, at most what its sides allow."""
    wide = len(shape) == 4 and shape[2] * shape[3] > 1
    rows, columns = shape[0], torch.Size(shape[1:]).numel()
    return min(conv_rank if wide and conv_rank else rank, rows, columns)


def metadata_of(old: Mapping[str, str], family: str | None, target: Path, layers: Mapping[str, Mapping[str, Tensor]],
              what: str) -> dict[str, str]:
    """The old file's, without what was true of that file only; with the family, without which WebUIs hide its card."""
    kept = {key: text for key, text in old.items() if not key.startswith(_OF_THE_FILE)}
    if family and "ss_base_model_version" not in kept:
        kept |= _BASES[family]
    comment = kept.get("ss_training_comment", "None")
    return kept | {"ss_output_name": target.stem, "ss_network_module": "networks.lora",
                   "ss_network_dim": _one([str(rank_of(parts)) for parts in layers.values() if rank_of(parts)]),
                   "ss_network_alpha": _one([f"{alpha_of(parts):g}" for parts in layers.values() if rank_of(parts)]),
                   "ss_training_comment": what if comment in ("", "None") else f"{what}; {comment}"}


def _one(texts: Sequence[str]) -> str:
    """kohya's word where the layers do not agree."""
    return texts[0] if len(set(texts)) == 1 else "Dynamic"


def span(ranks: Sequence[int]) -> str:
    if not ranks:
        return "no rank"
    return f"rank {ranks[0]}" if len(set(ranks)) == 1 else f"ranks from {min(ranks)} to {max(ranks)}"


def left_out(file: NetworkFile) -> str:
    if not file.others:
        return ""
    more = f" and {len(file.others) - SHOWN} more" if len(file.others) > SHOWN else ""
    return f"Left out, as they belong to no known layer: {', '.join(file.others[:SHOWN])}{more}."
