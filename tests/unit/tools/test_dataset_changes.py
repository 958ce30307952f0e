"""What is done to many captions, which images are shown, and which are there twice."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageFilter

from pivotal.errors import DatasetError, OptionError
from pivotal.tools.dataset.alike import NEAR, Look, look_of, nearly_same, partners
from pivotal.tools.dataset.changes import Change, count_tags, edit_of
from pivotal.tools.dataset.filters import Filter, filter_from
from pivotal.tools.dataset.opened import Opened
from pivotal.tools.dataset.places import open_place


@pytest.mark.parametrize(("change", "before", "after"), [
    (Change("replace", "cat", "dog"), "cat, catalog", "dog, dogalog"),
    (Change("replace", "CAT", "a\\1", any_case=True), "Cat", "a\\1"),
    (Change("replace", r"\bcat\b", "dog", is_regular=True), "cat, catalog", "dog, catalog"),
    (Change("replace", r"(\w+) hat", r"hat in \1", is_regular=True), "red hat", "hat in red"),
    (Change("prefix", text="a photo, "), "cat", "a photo, cat"),
    (Change("suffix", text=", 4k"), "cat", "cat, 4k"),
    (Change("add tag", "cat"), "dog", "dog, cat"),
    (Change("add tag", "cat"), "cat,dog", "cat,dog"),
    (Change("remove tag", "cat"), "cat, catalog ,a cat", "catalog, a cat"),
    (Change("remove tag", "cat"), "catalog,a cat", "catalog,a cat"),
    (Change("remove tag", "CAT", any_case=True), "Cat, dog", "dog"),
    (Change("rename tag", "cat", "kitten"), "cat, catalog", "kitten, catalog"),
    (Change("rename tag", "cat", ""), "cat, dog", "dog"),
    (Change("sort tags"), "b, C, a", "a, b, C"),
    (Change("unique tags"), "b, a, B, a", "b, a"),
])  # fmt: skip
def test_each_change_does_what_it_says(change, before, after):
    assert edit_of(change)(before) == after


@pytest.mark.parametrize(("change", "key"), [
    (Change("replace", ""), "find"), (Change("remove tag", " "), "find"), (Change("prefix"), "text"),
    (Change("replace", "(", is_regular=True), "find"), (Change("explode"), "action"),
    (Change("replace", "x" * 3000), "find"),
])  # fmt: skip
def test_what_is_missing_is_told_under_its_key(change, key):
    with pytest.raises(OptionError) as caught:
        edit_of(change)
    assert list(caught.value.problems) == [key]


def test_a_group_that_is_not_there_is_told():
    with pytest.raises(OptionError) as caught:
        edit_of(Change("replace", "a", r"\2", is_regular=True))("a")
    assert list(caught.value.problems) == ["text"]


def test_an_expression_that_would_take_years_is_ended(monkeypatch):
    monkeypatch.setattr("pivotal.tools.dataset.changes.PATIENCE_S", 0.05)
    with pytest.raises(OptionError, match=r"takes more than 0.05 s"):
        edit_of(Change("replace", "(a|aa)+$", "b", is_regular=True))("a" * 90 + "!")  # 2.9e18 ways to part 90 letters


def test_tags_are_counted_once_a_caption():
    assert count_tags(["a, b, a", "b", ""]) == [("b", 2), ("a", 1)]


@pytest.fixture
def opened(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    noise = np.random.default_rng(1).integers(0, 255, (12, 10, 3), dtype=np.uint8)
    picture = Image.fromarray(noise).resize((600, 720), Image.Resampling.BICUBIC)
    picture.save(folder / "a.png")
    (folder / "copy.png").write_bytes((folder / "a.png").read_bytes())
    picture.resize((300, 360)).filter(ImageFilter.GaussianBlur(1)).save(folder / "smaller.jpg", quality=80)
    Image.fromarray(255 - noise).resize((600, 720), Image.Resampling.BICUBIC).save(folder / "other.png")
    (folder / "cut.png").write_bytes((folder / "other.png").read_bytes()[:20_000])
    (folder / "text.png").write_bytes(b"no image")
    (folder / "a.txt").write_text("red cat, hat", encoding="utf-8")
    (folder / "other.txt").write_text("one two three four five", encoding="utf-8")
    return Opened(open_place(str(folder)), tmp_path / "scratch", lambda text: len(text.split()))


def names(opened, **query):
    return [found.name for found in opened.shown.chosen(Filter(**query))]


def test_filters_show_what_they_say(opened):
    assert names(opened) == ["a.png", "copy.png", "cut.png", "other.png", "smaller.jpg", "text.png"]
    assert names(opened, kind="uncaptioned") == ["copy.png", "cut.png", "smaller.jpg", "text.png"]
    assert names(opened, kind="cut", tokens=4) == ["other.png"]
    assert names(opened, kind="small", least=400) == ["smaller.jpg"]
    assert names(opened, kind="same") == ["a.png", "copy.png"]
    assert names(opened, kind="corrupt") == ["text.png"]
    assert names(opened, search="CAT") == ["a.png"] and names(opened, tag="hat") == ["a.png"] and names(opened, tag="cat") == []
    assert opened.shown.counts(Filter(tokens=4)) == {"": 6, "uncaptioned": 4, "cut": 1, "small": 1, "same": 2, "near": 0,
                                                     "corrupt": 1, "unmasked": 6}
    assert opened.shown.count_more() == 0


def test_comparing_finds_likeness_and_damage(opened):
    with opened.comparing() as step:
        for name in names(opened):
            if name == "cut.png":
                with pytest.raises(DatasetError):
                    step(name)
            else:
                step(name)
    assert names(opened, kind="near") == ["a.png", "copy.png", "smaller.jpg"]
    assert names(opened, kind="corrupt") == ["cut.png", "text.png"]


def test_queries_that_make_no_sense_are_told():
    for query in ({"filter": "x"}, {"least": "-1"}, {"tokens": "1e9"}, {"least": "²"}):
        with pytest.raises(OptionError):
            filter_from(query)


def test_bits_are_counted_as_python_counts_them():
    dice = np.random.default_rng(0)
    base = int(dice.integers(0, 2**63))
    others = {f"{bits}": base ^ sum(1 << int(place) for place in dice.choice(63, bits, replace=False)) for bits in range(1, 12)}
    for name, bits in others.items():
        alike = nearly_same({"base": Look(base, (9, 9, 9)), name: Look(bits, (9, 9, 9))})
        assert bool(alike) == (int(name) <= NEAR), name
    assert nearly_same({"a": Look(0, (0, 0, 0)), "b": Look(0, (40, 0, 0))}) == []
    assert partners([("a", "b", "c")])["b"] == ("a", "c")


def test_flat_images_of_different_colours_are_not_alike(tmp_path):
    looks = {}
    for colour in ("red", "green", "#ff0303"):
        Image.new("RGB", (40, 40), colour).save(tmp_path / "x.png")
        looks[colour] = look_of(tmp_path / "x.png")
    assert nearly_same(looks) == [("red", "#ff0303")]


def test_a_preview_writes_nothing_and_what_is_applied_is_undone(opened):
    folder = opened.place.folder
    change = Change("replace", "a", "b")
    assert [one.name for one in opened.captions.preview(change, Filter()).changes] == ["a.png"]
    assert (folder / "a.txt").read_text(encoding="utf-8") == "red cat, hat"
    assert len(opened.captions.apply(Change("prefix", text="x "), Filter()).changes) == 6
    assert (folder / "copy.txt").read_text(encoding="utf-8") == "x "
    assert opened.captions.undoes == "prefix 'x '"
    assert len(opened.captions.undo().back) == 6
    assert not (folder / "copy.txt").exists() and (folder / "a.txt").read_text(encoding="utf-8") == "red cat, hat"


def test_one_write_protected_caption_does_not_hold_the_others_up(opened):
    folder = opened.place.folder
    (folder / "a.txt").chmod(0o444)
    with pytest.raises(DatasetError, match=r"1 of 2 captions were written. a.txt is write-protected"):
        opened.captions.apply(Change("replace", "e", "E"), Filter())
    (folder / "a.txt").chmod(0o644)
    assert (folder / "other.txt").read_text(encoding="utf-8") == "onE two thrEE four fivE"
    assert (folder / "a.txt").read_text(encoding="utf-8") == "red cat, hat"
    assert opened.image("other.png").caption == "onE two thrEE four fivE"
    undone = opened.captions.undo()
    assert undone.back == ("other.png",) and undone.left == ("a.png",)


def test_an_edit_does_not_overwrite_what_another_program_wrote(opened):
    (opened.place.folder / "a.txt").write_text("from elsewhere", encoding="utf-8")
    with pytest.raises(DatasetError, match="changed meanwhile"):
        opened.captions.save("a.png", "mine", old="red cat, hat")
    opened.refresh()
    assert opened.image("a.png").caption == "from elsewhere"
    opened.captions.save("a.png", "mine", old="from elsewhere")
    assert (opened.place.folder / "a.txt").read_text(encoding="utf-8") == "mine"
