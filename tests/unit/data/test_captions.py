"""Which text an image gets."""

from __future__ import annotations

import itertools
from pathlib import Path

from pivotal.config.sections.caption import Caption
from pivotal.data.captions import Captions
from pivotal.data.concepts import Concept, Wording
from pivotal.data.folder import Item

ITEMS = [Item(Path("a.png"), "a red cat"), Item(Path("b.png"), None)]


def captions_of(items, templates=(), before=False, **rules):
    return Captions(items, [Concept(wording=Wording(templates, "zk", Caption(**rules), before))], 1)


def test_without_templates_the_caption_file_counts():
    captions = captions_of(ITEMS)
    assert captions.text(0, 0) == "a red cat" and captions.all_texts() == ["a red cat", ""]


def test_templates_are_drawn_anew_each_epoch_and_repeatably():
    captions = captions_of(ITEMS, ("a photo of [name]", "{} here", "[filewords] as {}"))
    texts = [captions.text(0, epoch) for epoch in range(30)]
    assert set(texts) == {"a photo of zk", "zk here", "a red cat as zk"}
    assert texts == [captions.text(0, epoch) for epoch in range(30)]
    assert set(texts) <= set(captions.all_texts())


TAGS = [Item(Path("a.png"), "zk one, a, b, c, d")]


def texts(items=TAGS, epochs=400, templates=(), **rules):
    captions = captions_of(items, templates, **rules)
    return [captions.text(0, epoch) for epoch in range(epochs)], captions


def test_prefix_suffix_and_trigger_stand_where_they_belong():
    found, captions = texts(ITEMS, 1, prefix="photo,", suffix="at home", trigger_word="mara")
    assert found == ["mara, photo, a red cat at home"] and captions.all_texts() == [
        "mara, photo, a red cat at home", "mara, photo, at home"]
    assert texts(ITEMS, 1, prefix="Mara's", trigger_word="mara")[0] == ["Mara's a red cat"]  # it stands there already
    assert texts(ITEMS, 1, templates=("[filewords] of [name]",), prefix="my")[0] == ["my a red cat of zk"]


def test_shuffling_keeps_the_first_tags_and_loses_none():
    found, _ = texts(shuffle=True, keep_tags=2)
    assert all(text.startswith("zk one, a, ") for text in found)
    assert {tuple(text.split(", ")[2:]) for text in found} == set(itertools.permutations("bcd"))


def test_tags_are_dropped_as_often_as_asked_and_those_in_front_never():
    found, _ = texts(tag_dropout=0.25, keep_tags=1, epochs=2000)
    assert all(text.startswith("zk one") for text in found)
    left = sum(len(text.split(", ")) - 1 for text in found) / 2000
    assert abs(left - 3) < 0.1
    assert set(texts(tag_dropout=1, epochs=5)[0]) == {""}


def test_whole_captions_are_dropped_by_share_and_by_epoch_and_bring_no_trigger():
    found, _ = texts(dropout=0.2, trigger_word="mara", epochs=2000)
    assert abs(found.count("") / 2000 - 0.2) < 0.03
    assert [text == "" for text in texts(dropout_every_epochs=3, epochs=6)[0]] == [False, False, True, False, False, True]


def test_wildcards_are_drawn_and_doubled_braces_stay():
    found, _ = texts([Item(Path("a.png"), "a {red| dark red} cat {{a|b}}")], wildcards=True)
    assert set(found) == {"a red cat {a|b}", "a dark red cat {a|b}"}
    assert texts([Item(Path("a.png"), "a {red|blue} cat")], 3)[0] == ["a {red|blue} cat"] * 3


def test_another_delimiter_parts_and_joins():
    found, _ = texts([Item(Path("a.png"), "a, b | c")], shuffle=True, delimiter="|")
    assert set(found) == {"a, b| c", "c| a, b"}


def test_what_is_drawn_is_drawn_again_alike():
    settings = {"shuffle": True, "tag_dropout": 0.3, "dropout": 0.1}
    assert texts(**settings)[0] == texts(**settings)[0]


def test_a_template_may_come_before_the_caption_and_takes_it_in_where_it_says_so():
    captions = captions_of(ITEMS, ("a photo of [name],", "[filewords] of [name]"), before=True)
    assert {captions.text(0, epoch) for epoch in range(20)} == {"a photo of zk, a red cat", "a red cat of zk"}
    assert {captions.text(1, epoch).strip() for epoch in range(20)} == {"a photo of zk,", "of zk"}
    assert "a photo of zk, a red cat" in captions.all_texts()


def test_one_of_several_lines_is_taken_each_time():
    items = [Item(Path("a.png"), "one", lines=("one", "two {a|b}", "three"))]
    found, captions = texts(items, wildcards=True)
    assert set(found) == {"one", "two a", "two b", "three"}
    assert abs(found.count("one") / 400 - 1 / 3) < 0.08
    assert captions.all_texts() == ["one", "two {a|b}", "three"]


def test_a_separator_in_the_caption_says_what_stays_in_front_and_behind():
    items = [Item(Path("a.png"), "zk, girl ||| a, b, c ||| best")]
    found, captions = texts(items, shuffle=True, keep_separator="|||", keep_tags=1)
    assert all(text.startswith("zk, girl, ") and text.endswith(", best") for text in found)
    assert {tuple(text.split(", ")[2:-1]) for text in found} == set(itertools.permutations("abc"))
    assert texts(items, 1, keep_separator="|||")[0] == ["zk, girl, a, b, c, best"] == captions.all_texts()


def test_only_listed_tags_are_dropped_and_others_never():
    items = [Item(Path("a.png"), "zk, red Hat, blue hat, hair, shoe")]
    found, _ = texts(items, 200, tag_dropout=1, tags_to_drop=("* hat", "shoe"), tags_to_keep=("blue *",))
    assert set(found) == {"zk, blue hat, hair"}
    assert set(texts(items, 20, tag_dropout=1, tags_to_keep=("RED hat",))[0]) == {"red Hat"}


def test_each_concept_has_rules_of_its_own():
    items = [Item(Path("a.png"), "one"), Item(Path("b.png"), "two", concept=1)]
    concepts = [Concept(wording=Wording(rules=Caption(prefix="red"))), Concept(wording=Wording(("my {}",), "zk"))]
    captions = Captions(items, concepts, 1)
    assert [captions.text(index, 0) for index in (0, 1)] == ["red one", "my zk"] == captions.all_texts()


def test_what_is_seen_more_than_once_in_an_epoch_is_drawn_anew_each_time_and_epochs_still_count():
    captions = captions_of(TAGS, shuffle=True, dropout_every_epochs=2)
    assert len({captions.text(0, 0, time) for time in range(50)}) > 10
    assert [captions.text(0, epoch, 7) == "" for epoch in range(4)] == [False, True, False, True]


def test_of_too_many_pairs_each_caption_and_each_template_is_still_looked_at(monkeypatch):
    monkeypatch.setattr("pivotal.data.captions.MOST_PAIRS", 10)
    items = [Item(Path("a.png"), f"text {index}") for index in range(20)]
    found = captions_of(items, ("[name] of [filewords]", "[filewords] by [name]")).all_texts()
    assert found[:3] == ["zk of text 0", "text 1 by zk", "zk of text 2"] and len(found) == 20
    templates = tuple(f"{index} [filewords]" for index in range(20))
    assert len(captions_of(ITEMS, templates).all_texts()) == 20


FOUR = [Item(Path("a.png"), "zk, a, b, c, d")]


def shares(rules, epochs=4000):
    """How often each of the four tags behind the first is left out."""
    found, _ = texts(FOUR, epochs, keep_tags=1, **rules)
    return [1 - sum(tag in text.split(", ") for text in found) / epochs for tag in "abcd"]


def test_later_tags_go_more_often_and_the_last_with_the_whole_share():
    """OneTrainer's RANDOM WEIGHTED (mgds, DropTags.py): tag i of n with i / n of the share."""
    found = shares({"tag_dropout": 0.8, "tag_dropout_kind": "later tags more"})
    assert all(abs(share - expected) < 0.03 for share, expected in zip(found, (0.2, 0.4, 0.6, 0.8), strict=True))


def test_tags_may_go_all_at_once():
    """OneTrainer's FULL: all behind the kept ones, or none."""
    found, _ = texts(FOUR, 4000, keep_tags=1, tag_dropout=0.3, tag_dropout_kind="all at once", tags_to_keep=("c",))
    assert set(found) == {"zk, a, b, c, d", "zk, c"}
    assert abs(found.count("zk, c") / 4000 - 0.3) < 0.03


def test_lists_of_tags_may_be_regular_expressions_for_whole_tags():
    items = [Item(Path("a.png"), "zk, Red hat, blue hat, hats, (red hat:1.2), hat (2), a+b")]
    dropped = {"tag_dropout": 1, "keep_tags": 1, "tag_patterns": "regular expressions"}
    assert set(texts(items, 3, tags_to_drop=("(red|blue) hat",), **dropped)[0]) == {"zk, hats, hat (2), a+b"}
    assert set(texts(items, 3, tags_to_keep=(r"hats?", r"a\+b"), **dropped)[0]) == {"zk, hats, a+b"}
    words = {"tag_dropout": 1, "keep_tags": 1}
    assert set(texts(items, 3, tags_to_keep=("a+b", "(red|blue) hat"), **words)[0]) == {"zk, a+b"}  # words, as they stand


def test_brackets_and_weights_do_not_hide_a_tag_from_the_lists():
    items = [Item(Path("a.png"), "zk, (red hat:1.2), [shoe], ((hair)), a (b)")]
    listed = ("red hat", "shoe", "hair", "a (b)")
    assert set(texts(items, 3, keep_tags=1, tag_dropout=1, tags_to_drop=listed)[0]) == {"zk"}
