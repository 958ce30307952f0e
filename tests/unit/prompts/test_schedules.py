"""Schedules; most cases are those in AUTOMATIC1111's own docstring (modules/prompt_parser.py, v1.10.1), at 10 steps."""

import pytest

from pivotal.prompts.schedules import prompt_variants


def texts(prompt, steps=10):
    return ["".join(prompt[place] for place in variant) for variant in prompt_variants(prompt, steps)]


@pytest.mark.parametrize(("prompt", "expected"), [
    ("test", ["test"]),
    ("a [b:3]", ["a ", "a b"]),
    ("a [b: 3]", ["a ", "a b"]),
    ("a [[[b]]:2]", ["a ", "a [[b]]"]),
    ("[(a:2):3]", ["", "(a:2)"]),
    ("a [b : c : 1] d", ["a b  d", "a  c  d"]),
    ("a[b:[c:d:2]:1]e", ["abe", "ace", "ade"]),
    ("a [unbalanced", ["a [unbalanced"]),
    ("a [b:.5] c", ["a  c", "a b c"]),
    ("((a][:b:c [d:3]", ["((a][:b:c ", "((a][:b:c d"]),
    ("[a|(b:1.1)]", ["a", "(b:1.1)"]),
    ("[fe|]male", ["female", "male"]),
    ("[fe|||]male", ["female", "male"]),
])
def test_variants_are_the_hosts(prompt, expected):
    assert texts(prompt) == expected


@pytest.mark.parametrize(("prompt", "expected"), [
    ("a <lora:x:1>cat<hypernet:y:1>", ["a cat"]),
    ("a cat # and a dog\n, red #hat", ["a cat \n, red"]),
    ("a <lora:x#y:1> cat", ["a <lora:x"]),  # comments go first
    ("<angle> <lora> < lora:x>", ["<angle> <lora> < lora:x>"]),  # no word and colon directly behind the bracket
    ("a cat :1.2 AND a dog:.8 ", ["a cat", " a dog"]),
    ("ratio 16:9", ["ratio 16"]),  # the host takes it for the weight of a part
    ("SAND ANDy", ["SAND ANDy"]),
    ("[a:b:20]", ["a"]),  # all ten steps are before step 20
    ("[a:b:0]", ["b"]),
    ("[a:b:1.0]", ["a"]),  # a point makes it a share of the steps
    ("[a:b:1]", ["a", "b"]),
    ("[a|b] c | d [e:f:5]", ["[a|b] c | d [e:f:5]"]),  # the host's parser fails at a | outside of brackets
    ("[a:b:5] \\", ["[a:b:5] \\"]),  # and at a lone \ at the end
    ("[a|b|c]", ["a", "b", "c"]),
    (r"[a\]:b\|:5]", [r"a\]", r"b\|"]),
])
def test_what_the_prompt_box_does_before_it_counts(prompt, expected):
    assert texts(prompt) == expected


def test_alternatives_beyond_the_last_step_are_never_seen():
    assert texts("[a|b|c|d]", steps=2) == ["a", "b"]


def test_a_thousand_brackets_are_read_in_time_and_without_an_end_of_the_stack():
    assert texts("(" * 1000 + "cat") == ["(" * 1000 + "cat"]
    assert texts("[" * 1000 + ":" * 1000) == ["[" * 1000 + ":" * 1000]
