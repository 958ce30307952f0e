"""A folder's images and captions, and everything that may be wrong with them."""

from __future__ import annotations

import pytest
from PIL import Image

from fake_host import write_dataset
from pivotal.data.folder import Reading, read_items
from pivotal.errors import DatasetError


def said(folder, need_captions=True):
    with pytest.raises(DatasetError) as error:
        read_items(folder, Reading(need_captions=need_captions))
    return str(error.value)


def test_images_come_by_name_with_their_captions(tmp_path):
    folder = write_dataset(tmp_path / "d", 3)
    for kind in ("mask", "cond"):  # OneTrainer's, beside an image
        Image.new("L", (8, 8)).save(folder / f"00-{kind}label.png")
    items = read_items(folder, Reading())
    assert [item.path.name for item in items] == ["00.png", "01.png", "02.png"]
    assert items[1].caption == "a zkteal circle number 1"


def test_a_missing_an_empty_folder_and_a_file_are_told_apart(tmp_path):
    assert "does not exist" in said(tmp_path / "none")
    (tmp_path / "notes.md").write_text("x", encoding="utf-8")
    assert "no images" in said(tmp_path) and "found 1 other" in said(tmp_path)
    assert "is a file" in said(tmp_path / "notes.md")


def test_a_corrupt_image_is_named_among_good_ones(tmp_path):
    folder = write_dataset(tmp_path / "d", 4)
    whole = (folder / "02.png").read_bytes()
    for data in (b"", b"no image", whole[: len(whole) // 2]):
        (folder / "02.png").write_bytes(data)
        assert "1 of 4 images cannot be read (02.png)" in said(folder)


def test_missing_empty_and_unreadable_captions_are_told_together(tmp_path):
    folder = write_dataset(tmp_path / "d", 4)
    (folder / "00.txt").unlink()
    (folder / "01.txt").write_bytes(b"")
    (folder / "02.txt").write_bytes(b"caf\xe9")
    text = said(folder)
    assert "00.png" in text and "01.txt" in text and "02.txt is not UTF-8" in text
    assert "UTF-8" in said(folder, need_captions=False) and "00.png" not in said(folder, need_captions=False)


def test_a_byte_order_mark_and_line_breaks_are_not_part_of_a_caption(tmp_path):
    folder = write_dataset(tmp_path / "d", 1)
    (folder / "00.txt").write_bytes("\ufeffa zkteal\r\ncircle\n".encode())
    assert read_items(folder, Reading())[0].caption == "a zkteal circle"


def test_a_picture_too_large_to_be_one_is_refused_before_it_is_decoded(tmp_path, monkeypatch):
    folder = write_dataset(tmp_path / "d", 1)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    assert "00.png" in said(folder)


def test_subfolders_and_other_caption_files_are_read_when_asked(tmp_path):
    folder = write_dataset(tmp_path / "d", 2)
    write_dataset(folder / "more", 1, word="zkred")
    write_dataset(folder / ".hidden", 1)
    for path in folder.rglob("*.txt"):
        path.rename(path.with_suffix(".caption"))
    items = read_items(folder, Reading(subfolders=True, extension=".caption"))
    assert [item.path.relative_to(folder).as_posix() for item in items] == ["00.png", "01.png", "more/00.png"]
    assert "zkred" in items[-1].caption
    assert len(read_items(folder, Reading(need_captions=False))) == 2


def test_file_names_are_captions_without_their_numbers(tmp_path):
    folder = write_dataset(tmp_path / "d", 3)
    for number, name in enumerate(("01_a_red cat-2", "two  dogs (3)", "été 5")):
        (folder / f"{number:02d}.png").rename(folder / f"{name}.png")
    items = read_items(folder, Reading(from_names=True))
    assert sorted(item.caption for item in items) == ["a red cat", "two dogs", "été"]
    (folder / "été 5.png").rename(folder / "0042.png")
    with pytest.raises(DatasetError, match=r"1 file names say nothing \(0042.png\)"):
        read_items(folder, Reading(from_names=True))


def test_lines_of_a_caption_file_are_one_caption_or_several(tmp_path):
    folder = write_dataset(tmp_path / "d", 2)
    (folder / "00.txt").write_text("a zkteal  circle\n\n from above\n", encoding="utf-8")
    assert read_items(folder, Reading())[0].caption == "a zkteal circle from above"
    first, second = read_items(folder, Reading(one_line=True))
    assert first.lines == ("a zkteal circle", "from above") and first.caption == first.lines[0]
    assert second.lines == () and second.caption == "a zkteal circle number 1"


def test_a_text_stands_in_for_missing_captions_or_for_all(tmp_path):
    folder = write_dataset(tmp_path / "d", 2)
    (folder / "00.txt").unlink()
    assert [item.caption for item in read_items(folder, Reading(text="a cat"))] == ["a cat", "a zkteal circle number 1"]
    assert [item.caption for item in read_items(folder, Reading(text="a cat", only_text=True))] == ["a cat", "a cat"]


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize("kind", ["jpg", "png", "webp"])
def test_sizes_are_those_of_the_upright_image_whether_it_is_decoded_or_not(tmp_path, monkeypatch, kind, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.new("RGB", (40, 24)).save(tmp_path / f"a.{kind}", exif=exif)
    expected = (40, 24) if orientation == 6 else (24, 40)
    assert [item.size for item in read_items(tmp_path, Reading(need_captions=False))] == [expected]
    monkeypatch.setattr("pivotal.data.folder.DECODED", 0)
    assert [item.size for item in read_items(tmp_path, Reading(need_captions=False))] == [expected]


def test_an_orientation_behind_a_pngs_pixels_is_seen_and_else_nothing_is_decoded(tmp_path, monkeypatch):
    monkeypatch.setattr("pivotal.data.folder.DECODED", 0)
    exif = Image.Exif()
    exif[0x0112] = 8
    Image.new("RGB", (40, 24)).save(tmp_path / "a.png", exif=exif)
    data = (tmp_path / "a.png").read_bytes()
    begin = data.index(b"eXIf") - 4
    end = begin + 12 + int.from_bytes(data[begin : begin + 4], "big")
    last = data.index(b"IEND") - 4
    (tmp_path / "a.png").write_bytes(data[:begin] + data[end:last] + data[begin:end] + data[last:])
    assert read_items(tmp_path, Reading(need_captions=False))[0].size == (40, 24)
    Image.new("RGB", (40, 24)).save(tmp_path / "a.png")
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda _: pytest.fail("it was decoded"))
    assert read_items(tmp_path, Reading(need_captions=False))[0].size == (24, 40)
