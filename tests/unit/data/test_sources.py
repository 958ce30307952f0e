"""Folders as kohya names them, lists of images, and datasets of Hugging Face."""

from __future__ import annotations

import json
import sys
import types

import pytest
from PIL import Image

from fake_host import write_dataset
from pivotal.data.folder import MASK, Reading
from pivotal.data.sources import read_source
from pivotal.errors import DatasetError


def said(where, scratch, **reading):
    with pytest.raises(DatasetError) as error:
        read_source(str(where), Reading(**reading), scratch)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_numbered_subfolders_are_repeats_and_captions(tmp_path):
    write_dataset(tmp_path / "10_red cat", 2)
    write_dataset(tmp_path / "3_zk_dog", 1)
    (tmp_path / "10_red cat" / "01.txt").unlink()
    groups = read_source(str(tmp_path), Reading(repeats_in_names=True), tmp_path)
    assert [(group.name, group.repeats, len(group.items)) for group in groups] == [("10_red cat", 10, 2), ("3_zk_dog", 3, 1)]
    assert [item.caption for item in groups[0].items] == ["a zkteal circle number 0", "red cat"]


@pytest.mark.parametrize("name", ["red cat", "0_cat", "cat_10", "10"])
def test_a_subfolder_without_its_number_is_told_by_name(tmp_path, name):
    write_dataset(tmp_path / "10_cat", 1)
    (tmp_path / name).mkdir()
    assert f"{name!r} does not begin with its repeats" in said(tmp_path, tmp_path, repeats_in_names=True)


def test_numbered_folders_that_were_not_meant_so_are_told_apart(tmp_path):
    write_dataset(tmp_path / "d" / "10_cat", 1)
    assert "'10_cat'" in said(tmp_path / "d", tmp_path) and "Repeats in names on" in said(tmp_path / "d", tmp_path)
    assert len(read_source(str(tmp_path / "d"), Reading(subfolders=True), tmp_path)[0].items) == 1
    write_dataset(tmp_path / "d", 2)
    assert "2 images (00.png, ...) lie beside" in said(tmp_path / "d", tmp_path, repeats_in_names=True)
    (tmp_path / "empty").mkdir()
    assert "no subfolders" in said(tmp_path / "empty", tmp_path, repeats_in_names=True)
    assert "no images" in said(tmp_path / "empty", tmp_path)


def jsonl(path, *rows):
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows), encoding="utf-8")
    return path


def test_json_lines_name_images_captions_and_masks_from_their_own_folder(tmp_path):
    images = write_dataset(tmp_path / "images", 3)
    path = jsonl(tmp_path / "all.jsonl", {"image": "images/01.png", "text": "a  zk\ncat", "mask": "images/02.png", "more": 1}, "",
                 {"image": str(images / "00.png"), "text": "two"})
    (group,) = read_source(str(path), Reading(), tmp_path)
    assert [(item.path.name, item.caption, item.mask and item.mask.name, item.size) for item in group.items] == [
        ("01.png", "a zk cat", "02.png", (64, 72)), ("00.png", "two", None, (64, 64))]
    other = jsonl(tmp_path / "other.jsonl", {"file": "images/01.png", "tags": "x"})
    (group,) = read_source(str(other), Reading(image_column="file", text_column="tags"), tmp_path)
    assert group.items[0].caption == "x"


@pytest.mark.parametrize(("row", "words"), [
    ("{broken", "line 2: is not JSON"),
    ("[1]", "line 2: expected an object"),
    ({"img": "images/01.png", "text": "x"}, "line 2: no path in the column 'image'; it has 'img', 'text'"),
    ({"image": "images/01.png", "caption": "x"}, "line 2: no column 'text'; it has 'image', 'caption'"),
    ({"image": "images/09.png", "text": "x"}, "line 2: images/09.png does not exist"),
    ({"image": "images/01.png", "text": 7}, "line 2: the column 'text' holds 7"),
    ({"image": "images/01.png", "text": "x", "mask": "m.png"}, "line 2: the mask 'm.png' does not exist"),
])
def test_a_bad_line_is_told_by_its_number(tmp_path, row, words):
    write_dataset(tmp_path / "images", 2)
    path = jsonl(tmp_path / "all.jsonl", {"image": "images/00.png", "text": "x"}, row)
    assert f"all.jsonl, {words}" in said(path, tmp_path)


def test_a_text_list_names_images_with_captions_behind_a_tab_or_beside_them(tmp_path):
    images = write_dataset(tmp_path / "images", 3)
    path = tmp_path / "list.txt"
    path.write_text(f"images/02.png\ta zk hat\n\n{images / '00.png'}\n", encoding="utf-8-sig")
    (group,) = read_source(str(path), Reading(), tmp_path)
    assert [(item.path.name, item.caption) for item in group.items] == [
        ("02.png", "a zk hat"), ("00.png", "a zkteal circle number 0")]
    path.write_text("images/02.png\nnone.png\n", encoding="utf-8")
    assert "list.txt, line 2: none.png does not exist" in said(path, tmp_path)
    path.write_text("\n", encoding="utf-8")
    assert "names no image" in said(path, tmp_path)
    (images / "02.png").write_bytes(b"")
    path.write_text("images/02.png\tx", encoding="utf-8")
    assert "1 of 1 images cannot be read (02.png)" in said(path, tmp_path)


def hub(monkeypatch, rows=None, error=None):
    """Puts a `datasets` in place that knows one dataset; the calls it was asked for."""
    calls = []

    def load_dataset(name, split):
        calls.append((name, split))
        if error:
            raise error
        return rows

    monkeypatch.setitem(sys.modules, "datasets", types.SimpleNamespace(load_dataset=load_dataset))
    return calls


def test_a_dataset_of_hugging_face_is_fetched_once_as_files(tmp_path, monkeypatch):
    picture, mask = Image.new("RGB", (20, 10), "red"), Image.new("L", (20, 10), 255)
    rows = [{"image": picture, "text": "a zk\ncat", "mask": mask}, {"image": picture.convert("CMYK"), "text": "two"}]
    calls = hub(monkeypatch, rows)
    (group,) = read_source("hf:owner/name", Reading(), tmp_path)
    assert [(item.caption, item.size) for item in group.items] == [("a zk cat", (10, 20)), ("two", (10, 20))]
    assert (group.items[0].path.parent / ("000000" + MASK)).is_file() and tmp_path / "datasets" in group.items[0].path.parents
    read_source("hf:owner/name", Reading(), tmp_path)
    assert calls == [("owner/name", "train")]
    read_source("hf:owner/name:test", Reading(), tmp_path)
    assert calls[-1] == ("owner/name", "test")


def test_what_hinders_a_dataset_of_hugging_face_is_told_and_leaves_no_half_folder(tmp_path, monkeypatch):
    assert "expected hf:owner/name" in said("hf:name", tmp_path)
    hub(monkeypatch, error=ConnectionError("no route"))
    assert "no route" in said("hf:owner/name", tmp_path)
    hub(monkeypatch, [{"picture": 1, "text": "x"}])
    assert "'image' holds no images; its columns are 'picture', 'text'" in said("hf:owner/name", tmp_path)
    hub(monkeypatch, [{"image": Image.new("RGB", (8, 8)), "caption": "x"}])
    assert "'text' holds no texts" in said("hf:owner/name", tmp_path)
    monkeypatch.setitem(sys.modules, "datasets", None)
    assert "pip install datasets" in said("hf:owner/name", tmp_path)
    hub(monkeypatch, [{"image": Image.new("RGB", (8, 8)), "text": "x"}])
    assert len(read_source("hf:owner/name", Reading(), tmp_path)[0].items) == 1
