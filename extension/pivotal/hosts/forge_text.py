"""Forge's text engines: each has a text encoder, its tokenizer and its own embeddings. Seen with f2.0.1v1.10.1."""

from __future__ import annotations

from typing import Any


def engines(model: Any) -> dict[str, Any]:
    """By the encoder's name in embedding files ("clip_l", "clip_h", "clip_g"), in the family's order.

    Args:
        model: the host's sd_model; None has none.
    """
    found = [value for name, value in vars(model).items() if name.startswith("text_processing_engine")] if model else []
    # T5's, of other families, has neither embeddings nor such a name.
    return {engine.embedding_key: engine for engine in found if hasattr(engine, "embeddings")}


def tokenizers(model: Any) -> dict[str, Any]:
    """By text encoder; empty while nothing is loaded."""
    return {name: engine.tokenizer for name, engine in engines(model).items()}
