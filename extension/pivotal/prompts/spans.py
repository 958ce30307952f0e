"""Which letters of a text each token came from."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import Any

from pivotal.prompts.pieces import token_bytes

Span = tuple[int, int]
# ftfy makes these plain before the tokenizer sees them; NFKD does not.
QUOTES = str.maketrans({**dict.fromkeys("‘’‚‛ʼ", "'"), **dict.fromkeys("“”„‟", '"')})
# How much may have been dropped between two pieces: `amp;`, a terminal's colour code.
DROPPED = 12


def token_spans(text: str, ids: Sequence[int], tokenizer: Any) -> list[Span | None]:
    """For each id the begin and end in `text` of the letters that made it; None where it cannot be told.

    Tokenizers mend and lower the text first, so both sides are compared without blanks, case and compatibility forms.
    Pieces that share one letter, as of an emoji, all get that letter's span.
    """
    letters, owners = _folded(text)
    spans: list[Span | None] = []
    place, waiting, pending = 0, 0, b""
    for token in ids:
        pending += token_bytes(tokenizer, token)
        waiting += 1
        try:
            wanted = _folded(pending.decode("utf-8"))[0]
        except UnicodeDecodeError:
            continue  # the rest of this letter is in the next piece
        found = letters.find(wanted, place, place + len(wanted) + DROPPED) if wanted else -1
        if found < 0:
            spans += [None] * waiting
        else:
            place = found + len(wanted)
            spans += [(owners[found], owners[place - 1] + 1)] * waiting
        waiting, pending = 0, b""
    return spans + [None] * waiting


def _folded(text: str) -> tuple[str, list[int]]:
    """`text` without blanks, case and compatibility forms, and of each letter its place in `text`."""
    letters, owners = [], []
    for place, letter in enumerate(text.translate(QUOTES)):
        for part in unicodedata.normalize("NFKD", letter).lower():
            if not part.isspace():
                letters.append(part)
                owners.append(place)
    return "".join(letters), owners
