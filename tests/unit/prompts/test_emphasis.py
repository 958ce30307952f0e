"""Brackets; the cases and numbers are those in AUTOMATIC1111's own docstring (modules/prompt_parser.py, v1.10.1)."""

import pytest

from pivotal.prompts.emphasis import parse_emphasis

HOUSE = r"a (((house:1.3)) [on] a (hill:0.5), sun, (((sky)))."


@pytest.mark.parametrize(("prompt", "expected"), [
    ("normal text", [("normal text", 1.0)]),
    ("an (important) word", [("an ", 1.0), ("important", 1.1), (" word", 1.0)]),
    ("(unbalanced", [("unbalanced", 1.1)]),
    (r"\(literal\]", [("(literal]", 1.0)]),
    ("(unnecessary)(parens)", [("unnecessaryparens", 1.1)]),
    (HOUSE, [("a ", 1.0), ("house", 1.573), (" ", 1.1), ("on", 1.0), (" a ", 1.1), ("hill", 0.55), (", sun, ", 1.1),
             ("sky", 1.4641), (".", 1.1)]),
    ("", [("", 1.0)]),
])
def test_weights_are_the_hosts(prompt, expected):
    segments = parse_emphasis(prompt)
    assert [segment.text for segment in segments] == [text for text, _ in expected]
    assert [segment.weight for segment in segments] == pytest.approx([weight for _, weight in expected])


def test_break_ends_a_chunk_but_not_inside_brackets():
    assert [segment.is_break for segment in parse_emphasis("a BREAK b")] == [False, True, False]
    assert [segment.text for segment in parse_emphasis("a BREAK b")] == ["a", "BREAK", "b"]
    assert not any(segment.is_break for segment in parse_emphasis("(a BREAK b:1.2)"))


def test_every_letter_knows_its_place_in_the_prompt():
    for prompt in (HOUSE, r"\\ \( [x BREAK (y:1.2)] BREAK z", "a:b (c : 1.5 ) d"):
        for segment in parse_emphasis(prompt):
            assert "".join(prompt[place] for place in segment.places) == segment.text


def test_a_weight_that_is_no_number_weighs_nothing_extra():
    assert [(segment.text, segment.weight) for segment in parse_emphasis("(cat:1.2.3)")] == [("cat", 1.0)]
