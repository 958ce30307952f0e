"""The tokenizers of AUTOMATIC1111's loaded model, and what its prompt box knows. Seen with 1.10.1."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pivotal.hosts.a1111_guard import loaded_model
from pivotal.hosts.protocol import PromptContext
from pivotal.models.families import FAMILIES


class OpenClipTokenizer:
    """open_clip's tokenizer, which the host has for SD 2 and SDXL's second encoder, called as transformers' is."""

    def __init__(self, simple: Any):
        self._simple = simple

    def __call__(self, text: str, **_: Any) -> dict[str, list[int]]:
        return {"input_ids": self._simple.encode(text)}

    def convert_ids_to_tokens(self, token: int) -> str | None:
        return self._simple.decoder.get(token)


def tokenizers(model: Any, family: str) -> dict[str, Any]:
    """By text encoder, in the family's order; empty while the model is not ready for prompts.

    Args:
        model: the host's sd_model.
    """
    if family not in FAMILIES:
        return {}
    text = getattr(model, "cond_stage_model", None)
    parts = getattr(text, "embedders", None) or [text]
    # Hijacked encoders have `tokenize`; SDXL's embedders of sizes and crops have not (sd_hijack_clip.py).
    found = [_tokenizer(part) for part in parts if hasattr(part, "tokenize")]
    names = [encoder.name for encoder in FAMILIES[family].encoders]
    return dict(zip(names, found, strict=True)) if len(found) == len(names) else {}


def prompt_context(family_of: Callable[[Any], str], own_tokenizer: Callable[[], Any]) -> PromptContext:
    """See hosts.protocol.Host.prompt_context.

    Args:
        family_of: of the host's model.
        own_tokenizer: makes the one to count with while the host has none.
    """
    from modules import sd_hijack

    model = loaded_model()
    encoders = tokenizers(model, family_of(model)) or {"clip_l": own_tokenizer()}
    # A copy made in one go: another thread may be reading the folder anew.
    known = list(sd_hijack.model_hijack.embedding_db.word_embeddings.items())
    return PromptContext(encoders, {name: embedding.vectors for name, embedding in known})


def _tokenizer(encoder: Any) -> Any:
    if hasattr(encoder, "tokenizer"):
        return encoder.tokenizer
    from modules import sd_hijack_open_clip

    return OpenClipTokenizer(sd_hijack_open_clip.tokenizer)
