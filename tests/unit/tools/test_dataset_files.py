"""A dataset's files: which may be reached, how captions keep their form, and how changes are taken back."""

from __future__ import annotations

import json
import os
import stat
import sys
import time

import pytest
from PIL import Image

from pivotal.errors import DatasetError
from pivotal.tools.dataset.caption_files import read_caption, write_caption
from pivotal.tools.dataset.index import UNKNOWN, scan
from pivotal.tools.dataset.journal import Changed, Journal
from pivotal.tools.dataset.places import ENDINGS, open_place


@pytest.fixture
def folder(tmp_path):
    inside = tmp_path / "images"
    (inside / "sub").mkdir(parents=True)
    for name in ("a.png", "b.jpg", "sub/c.png"):
        Image.new("RGB", (30, 20)).save(inside / name)
    (inside / "a.txt").write_text("a cat", encoding="utf-8")
    (tmp_path / "secret.png").write_bytes((inside / "a.png").read_bytes())
    (tmp_path / "secret.txt").write_text("secret", encoding="utf-8")
    return inside


@pytest.mark.parametrize("name", [
    "../secret.png", "/etc/passwd", "sub/../../secret.png", "..", "", ".", "a.txt", "none.png", "a.png/../a.png", "sub/c.png",
    "a-masklabel.png", "a.png\x00", "C:\\a.png", "x" * 5000 + ".png", ".hidden/a.png",
])  # fmt: skip
def test_nothing_but_the_folders_own_images_can_be_named(folder, name):
    with pytest.raises(DatasetError, match="is no image of"):
        open_place(str(folder)).caption(name)


def test_subfolders_can_be_named_where_they_are_taken(folder):
    place = open_place(str(folder), subfolders=True)
    assert place.mask("sub/c.png") == folder / "sub" / "c-masklabel.png"
    with pytest.raises(DatasetError):
        place.image("sub/../../secret.png")


@pytest.mark.skipif(os.name == "nt", reason="links need a right there")
def test_links_out_of_the_folder_are_neither_followed_nor_written_through(folder):
    (folder / "link.png").symlink_to(folder.parent / "secret.png")
    (folder / "b.txt").symlink_to(folder.parent / "secret.txt")
    place = open_place(str(folder))
    with pytest.raises(DatasetError, match="is no image of"):
        place.image("link.png")
    with pytest.raises(DatasetError, match="link to a file outside"):
        place.caption("b.jpg")
    found = {name: known.found for name, known in scan(place, {}).items()}
    assert found["link.png"].trouble and found["link.png"].size == UNKNOWN
    assert found["b.jpg"].caption is None and "outside" in found["b.jpg"].caption_trouble


@pytest.mark.skipif(os.name == "nt" or sys.platform == "darwin", reason="their names are always text")
def test_names_that_are_no_text_are_left_out(folder):
    (folder / "a.png").rename(folder / "\udcff.png")
    assert list(scan(open_place(str(folder)), {})) == ["b.jpg"]


@pytest.mark.parametrize(("where", "words"), [("", "Name the folder"), ("nowhere", "does not exist"), ("a\0b", "cannot be read"),
                                              ("~nobody-of-that-name/x", "cannot be read")])
def test_what_is_no_folder_is_told(where, words):
    with pytest.raises(DatasetError, match=words):
        open_place(where)


def test_captions_end_as_most_of_them_do_and_never_as_a_program(folder):
    assert open_place(str(folder)).ending == ".txt"
    (folder / "a.txt").unlink()
    assert open_place(str(folder)).ending == ENDINGS[0] == ".txt"
    (folder / "b.caption").write_text("x", encoding="utf-8")
    assert open_place(str(folder)).ending == ".caption"
    for ending in (".py", ".png", ".bat", "../x.txt"):
        with pytest.raises(DatasetError, match="Caption files end in"):
            open_place(str(folder), ending=ending)


@pytest.mark.parametrize(("before", "text", "after"), [
    (None, "é 🎈\nb", "é 🎈\nb".encode()),
    (b"a\r\nb\r\n", "c\nd", b"c\r\nd\r\n"),
    (b"\xef\xbb\xbfa\n", "b", b"b\n"),
    (b"a\nb", "c", b"c"),
    (b"a\rb\r", "c\nd", b"c\rd\r"),
    (b"\xff\xfe", "now text", b"now text"),
])  # fmt: skip
def test_a_caption_keeps_its_line_ends_and_has_no_byte_order_mark(tmp_path, before, text, after):
    path = tmp_path / "a.txt"
    if before is not None:
        path.write_bytes(before)
    write_caption(path, text)
    assert path.read_bytes() == after
    assert read_caption(path) == text


def test_what_cannot_be_written_is_told_and_stays(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old", encoding="utf-8")
    path.chmod(stat.S_IREAD)
    with pytest.raises(DatasetError, match="write-protected"):
        write_caption(path, "new")
    path.chmod(stat.S_IREAD | stat.S_IWRITE)
    with pytest.raises(DatasetError, match="letter 1 of the text"):
        write_caption(path, "a\ud800")
    assert path.read_text(encoding="utf-8") == "old"
    assert [one.name for one in tmp_path.iterdir()] == ["a.txt"]


def test_changes_are_undone_group_by_group_also_after_a_restart(folder, tmp_path):
    place = open_place(str(folder))
    journal = Journal(tmp_path / "scratch", place)
    for old, new in (("a cat", "a dog"), ("a dog", "a cow")):
        journal.note(journal.new_group(), f"to {new}", [Changed("a.png", old, new), Changed("b.jpg", None, new)])
        write_caption(folder / "a.txt", new)
    write_caption(folder / "b.txt", "a cow")
    again = Journal(tmp_path / "scratch", open_place(str(folder)))
    assert again.last() == "to a cow"
    undone = again.undo()
    assert undone.back == ("a.png", "b.jpg") and undone.left == ()
    assert (folder / "a.txt").read_text(encoding="utf-8") == "a dog" and not (folder / "b.txt").exists()
    (folder / "a.txt").write_text("by hand", encoding="utf-8")
    assert again.undo().left == ("a.png", "b.jpg")
    assert (folder / "a.txt").read_text(encoding="utf-8") == "by hand"
    with pytest.raises(DatasetError, match="nothing to undo"):
        again.undo()


def test_an_undo_that_finds_no_room_for_its_journal_is_told_in_words(folder, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    journal = Journal(tmp_path / "scratch", open_place(str(folder)))
    journal.note("g", "change", [Changed("a.png", "old", "a cat")])
    monkeypatch.setattr("pivotal.tools.dataset.journal.write_text", full)
    with pytest.raises(DatasetError, match=r"No space left on device\)\. The captions are as before"):
        journal.undo()
    assert (folder / "a.txt").read_text(encoding="utf-8") == "old"


def test_a_journal_that_a_crash_cut_short_or_somebody_spoiled_reaches_no_other_file(folder, tmp_path):
    journal = Journal(tmp_path / "scratch", open_place(str(folder)))
    journal.note("g", "change", [Changed("a.png", "old", "a cat")])
    (path,) = (tmp_path / "scratch").rglob("*.jsonl")
    row = {"group": "g", "what": "x", "ending": ".txt", "name": "../secret.png", "old": "owned", "new": "secret"}
    path.write_text(path.read_text("utf-8") + json.dumps(row) + "\n" + '{"group": "h", "what', encoding="utf-8")
    assert journal.undo().back == ("a.png",)
    assert (folder / "a.txt").read_text(encoding="utf-8") == "old"
    assert (folder.parent / "secret.txt").read_text(encoding="utf-8") == "secret"


def test_only_what_changed_is_read_again(folder, monkeypatch):
    place = open_place(str(folder))
    first = scan(place, {})
    assert [(name, known.found.size, known.found.caption) for name, known in first.items()] == [
        ("a.png", (20, 30), "a cat"), ("b.jpg", (20, 30), None)]
    (folder / "b.txt").write_text("new", encoding="utf-8")
    opened = []
    monkeypatch.setattr("pivotal.tools.dataset.index.open_image", lambda path: opened.append(path))
    second = scan(place, first)
    assert opened == []
    assert second["b.jpg"].found.caption == "new" and second["a.png"] is first["a.png"]


def test_a_bomb_is_refused_by_its_header(folder, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 500)
    assert "more than Pillow's limit" in scan(open_place(str(folder)), {})["a.png"].found.trouble


def test_a_caption_of_5_mb_takes_no_time(folder):
    (folder / "a.txt").write_text("word, " * 900_000, encoding="utf-8")
    begin = time.thread_time()
    assert len(scan(open_place(str(folder)), {})["a.png"].found.caption) == 5_400_000
    assert time.thread_time() - begin < 2
    (folder / "a.txt").write_bytes(b"x" * 16_000_001)
    assert "that is no caption" in scan(open_place(str(folder)), {})["a.png"].found.caption_trouble
