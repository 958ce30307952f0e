"""The counter's answer."""

import json
from types import SimpleNamespace

import pytest

from pivotal.hosts.a1111_text import OpenClipTokenizer
from pivotal.prompts.counting import count_tokens

EMBEDDINGS = {"zkwemb": 2, "bigemb": 40}


def pieces(answer, encoder="clip"):
    return [piece for chunk in answer["encoders"][encoder]["chunks"] for piece in chunk["pieces"]]


def test_each_piece_tells_its_id_and_the_letters_it_came_from(tokenizer):
    text = "<lora:x:1>a (Photo:1.2) zkwemb"
    answer = count_tokens(text, {"clip": tokenizer}, EMBEDDINGS)
    assert (answer["count"], answer["limit"], answer["padded"], answer["cut"]) == (4, 75, 71, [])
    assert pieces(answer) == [
        {"text": "a", "id": 320, "start": 10, "end": 11, "embedding": None, "vectors": 1},
        {"text": "photo", "id": 1125, "start": 13, "end": 18, "embedding": None, "vectors": 1},
        {"text": "zkwemb", "id": None, "start": 24, "end": 30, "embedding": "zkwemb", "vectors": 2},
    ]


@pytest.mark.parametrize(("text", "shown"), [
    ("[a|a photo|a cat] of", "a photo of"),
    ("a AND a photo of:1.5", "a photo of"),
    ("[a photo:cat:0.5]", "a photo"),
])
def test_the_longest_variant_is_counted_and_shown(tokenizer, text, shown):
    answer = count_tokens(text, {"clip": tokenizer}, {})
    assert " ".join(text[piece["start"]:piece["end"]] for piece in pieces(answer)) == shown
    assert answer["count"] == len(shown.split())


def test_chunks_end_at_75_and_the_limit_grows(tokenizer):
    answer = count_tokens("cat " * 76, {"clip": tokenizer}, {})
    assert (answer["count"], answer["limit"], answer["padded"]) == (76, 150, 74)
    assert [len(chunk["pieces"]) for chunk in answer["encoders"]["clip"]["chunks"]] == [75, 1]


def test_a_caption_is_counted_literally(tokenizer):
    text = "<lora:x:1> (cat) zkwembs zkwemb"
    assert count_tokens(text, {"clip": tokenizer}, EMBEDDINGS)["count"] < count_tokens(
        text, {"clip": tokenizer}, EMBEDDINGS, kind="caption")["count"]
    (embedding,) = [p for p in pieces(count_tokens(text, {"clip": tokenizer}, EMBEDDINGS, kind="caption")) if p["embedding"]]
    assert (embedding["start"], embedding["end"]) == (25, 31)


@pytest.mark.parametrize(("text", "cut", "padded"), [
    ("a photo of a cat", ["of", "a", "cat"], 0),
    ("cat", [], 1),
    ("a cat", [], 0),
])
def test_an_initial_text_is_cut_or_padded_to_the_wanted_number(tokenizer, text, cut, padded):
    answer = count_tokens(text, {"clip": tokenizer}, {}, kind="caption", wanted=2)
    assert [piece["text"] for piece in answer["cut"]] == cut
    assert answer["padded"] == padded


def test_every_encoder_answers_and_the_largest_count_leads(tokenizer):
    letters = OpenClipTokenizer(SimpleNamespace(  # a token a letter
        encode=lambda text: [ord(letter) for letter in text if not letter.isspace()],
        decoder={number: chr(number) for number in range(128)}))
    answer = count_tokens("a cat", {"clip": tokenizer, "letters": letters, "again": tokenizer}, {})
    assert {name: encoder["count"] for name, encoder in answer["encoders"].items()} == {"clip": 2, "letters": 4, "again": 2}
    assert answer["count"] == 4


@pytest.mark.parametrize("text", ["", "\x00\ud83d", "👨‍👩‍👧", "(((((", "[a|b", "\\"])
def test_the_answer_is_json_for_any_text(tokenizer, text):
    assert json.loads(json.dumps(count_tokens(text, {"clip": tokenizer}, EMBEDDINGS)))["limit"] == 75
