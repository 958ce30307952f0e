"""<lora:name:0.8> in a prompt, as AUTOMATIC1111 1.10.1 reads it (modules/extra_networks.py, Lora's extra_networks_lora.py)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from pivotal.prompts.schedules import COMMENT

TAG = re.compile(r"<(\w+):([^>]+)>")
NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)")


@dataclass(frozen=True)
class LoraTag:
    """A wish for a LoRA."""

    name: str
    te: float  # weight in the text encoders
    unet: float  # weight in the UNet


def take_tags(prompt: str) -> tuple[str, list[LoraTag], list[str]]:
    """`prompt` without its tags and # comments, its LoRAs, and what could not be understood, in words."""
    loras: list[LoraTag] = []
    notices: list[str] = []

    def take(found: re.Match[str]) -> str:
        kind, rest = found[1], found[2]
        if kind != "lora":
            notices.append(f"<{kind}:...> is not known here and was left out.")
            return ""
        name, *values = rest.split(":")
        weights = _weights(values)
        if weights is None:
            notices.append(f"{found[0]}: expected numbers after the name, as in <lora:{name}:0.8>.")
        else:
            loras.append(LoraTag(name.strip(), *weights))
        return ""

    return TAG.sub(take, COMMENT.sub("", prompt)), loras, notices


def _weights(values: list[str]) -> tuple[float, float] | None:
    """Positional: text encoder, then UNet, which is the same if absent; te= and unet= outrank them."""
    named = dict(value.split("=", 1) for value in values if "=" in value)
    placed = [value for value in values if "=" not in value]
    texts = [*placed[:2], *named.values()]
    if any(NUMBER.fullmatch(text.strip()) is None for text in texts):
        return None
    te = float(named.get("te", placed[0] if placed else 1))
    return te, float(named.get("unet", placed[1] if len(placed) > 1 else te))
