"""Which text an image gets."""

from __future__ import annotations

from pathlib import Path

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
