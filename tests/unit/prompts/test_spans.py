"""Which letters made which token."""

import pytest

from pivotal.prompts.pieces import token_ids
from pivotal.prompts.spans import token_spans


@pytest.mark.parametrize(("text", "expected"), [
    ("a  CAT's toy", ["a", "CAT", "'s", "toy"]),
    ("fish &amp; chips", ["fish", "&", "chips"]),
    ("it’s “it”", ["it", "’s", "“", "it", "”"]),
    ("ＦＵＬＬ ½", ["ＦＵＬＬ", "½"]),
    ("日本語", ["日", "本", "語", "語"]),  # the last letter is two pieces
    ("e\u0301t", ["e\u0301", "t"]),
    ("cafÃ© x", [None, "x"]),  # mended to café: no letters to point at
])
def test_spans_point_at_the_letters_of_the_text(tokenizer, text, expected):
    spans = token_spans(text, token_ids(tokenizer, text), tokenizer)
    assert [text[span[0]:span[1]] if span else None for span in spans] == expected
