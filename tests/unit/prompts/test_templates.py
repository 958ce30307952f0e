"""Sentences for images without captions."""

import pytest

from pivotal.prompts.templates import OBJECT, STYLE, fill_template


@pytest.mark.parametrize("sentences", [OBJECT, STYLE], ids=["object", "style"])
def test_there_are_enough_different_sentences_and_each_has_a_slot(sentences):
    filled = {fill_template(sentence, name="zkwemb", filewords="") for sentence in sentences}
    assert len(filled) >= 20
    assert all("zkwemb" in sentence for sentence in filled)


@pytest.mark.parametrize(("template", "expected"), [
    ("a [name], [filewords]", "a zk, red sky"),
    ("{} and {}", "zk and zk"),
    ("plain", "plain"),
])
def test_slots_are_filled(template, expected):
    assert fill_template(template, name="zk", filewords="red sky") == expected


def test_what_is_filled_in_is_not_filled_again():
    assert fill_template("[name] [filewords]", name="{}", filewords="[name]") == "{} [name]"
