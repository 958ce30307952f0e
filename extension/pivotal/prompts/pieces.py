"""What a prompt needs of a tokenizer, which is transformers' CLIPTokenizer, or one that a host makes answer as that does."""

from __future__ import annotations

from typing import Any


def byte_letters() -> dict[int, str]:
    """The visible letter that CLIP's vocabulary writes for each byte, in the vocabulary's order.

    Printable Latin-1 stands for itself; the other 68 bytes are U+0100 and up (openai/CLIP, bytes_to_unicode).
    """
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [number for number in range(256) if number not in set(printable)]
    return {**{number: chr(number) for number in printable},
            **{number: chr(256 + place) for place, number in enumerate(others)}}


LETTER_BYTES = {letter: number for number, letter in byte_letters().items()}


def token_ids(tokenizer: Any, text: str) -> list[int]:
    """Ids of `text` without start, end or padding, as the host itself asks for them."""
    # verbose: the remark that 77 is exceeded is no news to a caller that cuts chunks
    return list(tokenizer(text, truncation=False, add_special_tokens=False, verbose=False)["input_ids"])


def token_name(tokenizer: Any, token: int) -> str:
    """The vocabulary's own writing of an id, as ``photo</w>``; empty for an id it does not have."""
    return tokenizer.convert_ids_to_tokens(token) or ""


def token_bytes(tokenizer: Any, token: int) -> bytes:
    """The UTF-8 bytes of one piece; a letter beyond ASCII may be spread over several pieces."""
    name = token_name(tokenizer, token).removesuffix("</w>")
    return bytes(LETTER_BYTES[letter] for letter in name if letter in LETTER_BYTES)
