"""Chunks of 75, emphasis, slots. Token ids are CLIP's: a 320, photo 1125, of 539, cat 2368, comma 267."""

import pytest

from pivotal.prompts.chunks import FILLER, Slot, tokenize_caption, tokenize_prompt

CAT, COMMA = 2368, 267
PHOTO = (320, 1125, 539, 320, CAT)
EMBEDDINGS = {"zkwemb": 2, "my style word": 3, "bigemb": 40, "<angle>": 1}


def only_chunk(tokenized):
    (chunk,) = tokenized.chunks
    return chunk


def test_a_plain_prompt_is_its_ids_with_weight_one(tokenizer):
    tokenized = tokenize_prompt("a photo of a cat", tokenizer, {})
    assert tokenized.count == 5
    assert only_chunk(tokenized).ids == PHOTO
    assert only_chunk(tokenized).weights == (1.0,) * 5
    assert only_chunk(tokenized).slots == ()


def test_an_empty_prompt_is_one_empty_chunk(tokenizer):
    tokenized = tokenize_prompt("", tokenizer, {})
    assert (tokenized.count, only_chunk(tokenized).ids) == (0, ())


def test_brackets_weigh_their_tokens_and_escapes_are_letters(tokenizer):
    assert only_chunk(tokenize_prompt("(cat:1.5) [cat] cat", tokenizer, {})).weights == pytest.approx((1.5, 1 / 1.1, 1.0))
    escaped = only_chunk(tokenize_prompt(r"\(cat\)", tokenizer, {}))
    assert escaped.ids == (263, CAT, 264)  # "(" and ")" as words of CLIP


def test_without_emphasis_brackets_and_break_are_words(tokenizer):
    tokenized = tokenize_prompt("(cat) BREAK", tokenizer, {}, emphasis=False)
    assert only_chunk(tokenized).ids[:3] == (263, CAT, 264)
    assert set(only_chunk(tokenized).weights) == {1.0}


def test_a_caption_that_is_taken_whole_begins_a_chunk_at_break(tokenizer):
    whole = tokenize_caption("a (cat) BREAK a zkmara BREAK", tokenizer, {"zkmara": 2})
    assert [chunk.ids for chunk in whole.chunks] == [(320, 263, CAT, 264), (320, FILLER, FILLER)]  # brackets are letters
    assert whole.count == 150 and whole.chunks[1].slots == (Slot(1, "zkmara", 0), Slot(2, "zkmara", 1))
    assert len(tokenize_caption("a cat BREAK a photo", tokenizer, {}, longest=1).chunks) == 1  # as kohya: a word


def test_a_caption_turns_back_to_a_comma_as_far_as_the_host_does(tokenizer):
    text = "cat " * 60 + ", " + "cat " * 20
    lengths = {far: [len(chunk.ids) for chunk in tokenize_caption(text, tokenizer, {}, comma_backtrack=far).chunks]
               for far in (0, 14, 15)}
    assert lengths == {0: [75, 6], 14: [75, 6], 15: [61, 20]}  # 15 tokens from the comma on


def test_an_embedding_takes_as_many_slots_as_it_has_vectors(tokenizer):
    chunk = only_chunk(tokenize_prompt("a My  Style word, (zkwemb's:2)", tokenizer, EMBEDDINGS))
    assert chunk.slots == (Slot(1, "my style word", 0), Slot(2, "my style word", 1), Slot(3, "my style word", 2),
                           Slot(5, "zkwemb", 0), Slot(6, "zkwemb", 1))
    assert chunk.ids == (320, FILLER, FILLER, FILLER, COMMA, FILLER, FILLER, 568)  # 568 is 's
    assert chunk.weights == (1.0,) * 5 + (2.0,) * 3


def test_the_longer_of_two_embeddings_wins(tokenizer):
    slots = only_chunk(tokenize_prompt("my style word", tokenizer, {"my style": 1, "my style word": 2})).slots
    assert {slot.name for slot in slots} == {"my style word"}


def test_break_fills_its_chunk_in_the_count(tokenizer):
    tokenized = tokenize_prompt("a cat BREAK a photo", tokenizer, {})
    assert [chunk.ids for chunk in tokenized.chunks] == [(320, CAT), (320, 1125)]
    assert tokenized.count == 77
    assert tokenize_prompt("cat BREAK", tokenizer, {}).count == 75


def test_the_76th_token_begins_a_chunk(tokenizer):
    tokenized = tokenize_prompt("cat " * 76, tokenizer, {})
    assert [len(chunk.ids) for chunk in tokenized.chunks] == [75, 1]
    assert tokenized.count == 76


@pytest.mark.parametrize(("before", "behind", "lengths"), [
    (55, 25, [56, 25]),  # the comma is one of the chunk's last 20 tokens: what follows it moves
    (54, 25, [75, 5]),  # it is the 21st from the end: it does not
    (74, 3, [75, 3]),  # the comma is the 75th token
    (75, 3, [75, 4]),  # the comma itself begins the next chunk
])
def test_what_follows_a_late_comma_moves_to_the_next_chunk(tokenizer, before, behind, lengths):
    prompt = "cat " * before + ", " + "cat " * behind
    tokenized = tokenize_prompt(prompt, tokenizer, {})
    assert [len(chunk.ids) for chunk in tokenized.chunks] == lengths


def test_no_backtracking_cuts_at_75(tokenizer):
    tokenized = tokenize_prompt("cat " * 60 + ", " + "cat " * 20, tokenizer, {}, comma_backtrack=0)
    assert [len(chunk.ids) for chunk in tokenized.chunks] == [75, 6]


def test_an_embedding_that_does_not_fit_moves_whole(tokenizer):
    tokenized = tokenize_prompt("cat " * 36 + "bigemb", tokenizer, EMBEDDINGS)
    assert [len(chunk.ids) for chunk in tokenized.chunks] == [36, 40]
    assert [slot.position for slot in tokenized.chunks[1].slots] == list(range(40))
    assert tokenized.count == 75 + 40


def test_an_embedding_behind_a_late_comma_moves_with_it(tokenizer):
    tokenized = tokenize_prompt("cat " * 70 + ", cat zkwemb cat cat", tokenizer, EMBEDDINGS)
    assert [len(chunk.ids) for chunk in tokenized.chunks] == [71, 5]
    assert tokenized.chunks[0].slots == ()
    assert tokenized.chunks[1].slots == (Slot(1, "zkwemb", 0), Slot(2, "zkwemb", 1))


def test_more_than_75_vectors_are_cut_to_a_chunk(tokenizer):
    tokenized = tokenize_prompt("cat huge cat", tokenizer, {"huge": 200})
    assert [len(chunk.ids) for chunk in tokenized.chunks] == [1, 75, 1]


def test_a_caption_has_no_emphasis_and_finds_placeholders_as_words(tokenizer):
    chunk = only_chunk(tokenize_caption("(cat) in a catalog, <angle>", tokenizer, {"cat": 2, "<ANGLE>": 1}))
    assert chunk.slots == (Slot(1, "cat", 0), Slot(2, "cat", 1), Slot(8, "<ANGLE>", 0))
    assert chunk.ids == (263, FILLER, FILLER, 264, 530, 320, 20036, COMMA, FILLER)  # ( .. .. ) in a catalog , ..
    assert set(chunk.weights) == {1.0}


def test_a_prompt_and_a_caption_with_the_same_embedding_are_the_same(tokenizer):
    text = "a photo of zkwemb's my style word, bigemb"
    assert tokenize_caption(text, tokenizer, EMBEDDINGS) == tokenize_prompt(text, tokenizer, EMBEDDINGS)


def test_brackets_of_captions_are_weights_when_asked_also_around_placeholders(tokenizer):
    text = "a (zkcat:1.5) [on] a \\(mat\\) BREAK zkcatalog"
    found = tokenize_caption(text, tokenizer, {"zkcat": 2}, emphasis=True)
    first, second = found.chunks
    assert [(slot.position, slot.name, slot.vector) for slot in first.slots] == [(1, "zkcat", 0), (2, "zkcat", 1)]
    assert first.weights[:4] == (1.0, 1.5, 1.5, pytest.approx(1 / 1.1)) and set(first.weights[4:]) == {1.0}
    assert not second.slots and tokenize_caption(text, tokenizer, {"zkcat": 2}) != found


def test_long_captions_are_cut_after_whole_chunks(tokenizer):
    text = "word " * 200
    whole = tokenize_caption(text, tokenizer, {})
    assert len(whole.chunks) == 3
    cut = tokenize_caption(text, tokenizer, {}, longest=2)
    assert cut.chunks == whole.chunks[:2] and cut.count == 150
    assert tokenize_caption(text, tokenizer, {}, longest=3) == whole
