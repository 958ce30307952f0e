"""Which text an image gets."""

from __future__ import annotations

import itertools
from pathlib import Path

from pivotal.config.sections.caption import Caption
from pivotal.data.captions import Captions
from pivotal.data.folder import Item

ITEMS = [Item(Path("a.png"), "a red cat"), Item(Path("b.png"), None)]


def test_without_templates_the_caption_file_counts():
    captions = Captions(ITEMS, (), "zk", 1)
    assert captions.text(0, 0) == "a red cat" and captions.all_texts() == ["a red cat", ""]


def test_templates_are_drawn_anew_each_epoch_and_repeatably():
    captions = Captions(ITEMS, ("a photo of [name]", "{} here", "[filewords] as {}"), "zk", 1)
    texts = [captions.text(0, epoch) for epoch in range(30)]
    assert set(texts) == {"a photo of zk", "zk here", "a red cat as zk"}
    assert texts == [captions.text(0, epoch) for epoch in range(30)]
    assert set(texts) <= set(captions.all_texts())


TAGS = [Item(Path("a.png"), "zk one, a, b, c, d")]


def texts(items=TAGS, epochs=400, templates=(), **rules):
    captions = Captions(items, templates, "zk", 1, Caption(**rules))
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
