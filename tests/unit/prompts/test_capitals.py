"""Why there is no option that changes letters' case, as OneTrainer's caps_randomize: text encoders never see it."""

from __future__ import annotations

import random
import string

import pytest

from pivotal.prompts.chunks import tokenize_caption

CAPTION = "zkMara, a red hat, Éclair at the café, it's 3D, o'clock"
DICE = random.Random(1)
# The four ways of mgds, CapitalizeTags.py, and its lowercase.
WAYS = {"capslock": str.upper, "title": string.capwords, "first": str.capitalize, "lowercase": str.lower,
        "random": lambda text: "".join(DICE.choice(pair) for pair in zip(text.upper(), text.lower(), strict=True))}


@pytest.mark.parametrize("way", [*WAYS])
def test_case_makes_no_difference_to_what_is_trained(tokenizer, way):
    placeholders = {"zkmara": 2}
    plain, changed = (tokenize_caption(text, tokenizer, placeholders) for text in (CAPTION, WAYS[way](CAPTION)))
    assert WAYS[way](CAPTION) != CAPTION and changed == plain and plain.chunks[0].slots
