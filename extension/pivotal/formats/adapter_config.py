"""The alphas of PEFT's files, which are not among the tensors: beside the file, or in the metadata that diffusers writes."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pivotal.errors import FormatError

BESIDE = "adapter_config.json"  # PEFT
INSIDE = "lora_adapter_metadata"  # diffusers since 0.34; keys begin with the part of the model
_PARTS = {"unet": ("unet",), "te": ("text_encoder",), "te1": ("text_encoder",), "te2": ("text_encoder_2",)}


@dataclass(frozen=True)
class Alphas:
    """What a file's settings say of the scale of its layers."""

    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # part ("" for all) -> PEFT's LoraConfig

    def of(self, part: str, path: str, rank: int) -> float:
        """Alpha such that alpha / rank is the layer's scale; the rank where nobody tells.

        Args:
            path: of the layer, with dots.
        """
        settings = next((self.settings[name] for name in (*_PARTS[part], "") if name in self.settings), {})
        patterns = settings.get("alpha_pattern")
        alpha = settings.get("lora_alpha", rank)
        for pattern, value in patterns.items() if isinstance(patterns, Mapping) else ():
            if _ends_with(path, str(pattern)):
                alpha = value
        if not isinstance(alpha, (int, float)) or isinstance(alpha, bool) or not math.isfinite(alpha):
            raise FormatError(f"The file's settings have {alpha!r} for lora_alpha; expected a number.")
        # Rank-stabilized: alpha / sqrt(rank) (Kalajdzievski 2023, arXiv:2312.03732).
        return float(alpha) * math.sqrt(rank) if settings.get("use_rslora") and "lora_alpha" in settings else float(alpha)


def read_alphas(path: Path, metadata: Mapping[str, str]) -> Alphas:
    """The settings that belong to a network file.

    Raises:
        FormatError: they cannot be read.
    """
    beside = path.with_name(BESIDE)
    try:
        if INSIDE in metadata:
            return Alphas(_by_part(json.loads(metadata[INSIDE])))
        if path.name.startswith("adapter_model") and beside.is_file():
            return Alphas({"": dict(json.loads(beside.read_text("utf-8")))})
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise FormatError(f"{path.name}: its settings in {INSIDE if INSIDE in metadata else BESIDE} cannot be read: "
                          f"{error}") from error
    return Alphas()


def _by_part(flat: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """{"unet.lora_alpha": 8} as {"unet": {"lora_alpha": 8}}."""
    found: dict[str, dict[str, Any]] = {}
    for key, value in flat.items():
        part, _, name = key.partition(".")
        if name:
            found.setdefault(part, {})[name] = value
    return found


def _ends_with(path: str, pattern: str) -> bool:
    """PEFT's rule: a pattern means the layers whose names it ends, at a dot."""
    try:
        return re.fullmatch(rf"(?:.*\.)?(?:{pattern})", path) is not None
    except re.error:
        return path == pattern or path.endswith(f".{pattern}")
