"""A first look at a folder: counts, captions, and nothing of other places."""

from fake_host import write_dataset
from pivotal.jobs.glance import MOST, glance


def test_the_first_images_come_by_name_with_their_captions(tmp_path):
    folder = write_dataset(tmp_path / "images", 30)
    (folder / "01.txt").unlink()
    (folder / "02.txt").write_bytes(b"\xff\xfe\xff")
    (folder / "notes.md").write_text("x", encoding="utf-8")
    found = glance(f" {folder} ")
    assert (found.images, len(found.shown), found.captions) == (30, MOST, MOST - 1)
    assert [item.path.name for item in found.shown[:3]] == ["00.png", "01.png", "02.png"]
    assert found.shown[0].caption == "a zkteal circle number 0" and found.shown[1].caption is None
    assert "UTF-8" in found.shown[2].caption


def test_a_long_caption_is_cut_and_subfolders_are_looked_into_when_asked(tmp_path):
    folder = write_dataset(tmp_path / "images" / "inner", 2).parent
    (folder / "inner" / "00.txt").write_text("x" * 5_000_000, encoding="utf-8")
    assert glance(str(folder)).images == 0
    found = glance(str(folder), subfolders=True)
    assert found.images == 2 and len(found.shown[0].caption) == 1000


def test_what_is_no_folder_is_nothing(tmp_path):
    (tmp_path / "file.txt").write_text("x", encoding="utf-8")
    for text in ("", "relative", str(tmp_path / "file.txt"), str(tmp_path / "gone"), "/\0", "~nosuchuser/images"):
        assert glance(text).images == 0


def test_a_path_that_windows_has_copied_comes_in_quotes(tmp_path):
    assert glance(f' "{write_dataset(tmp_path / "images", 1)}"').images == 1


def test_the_captions_suffix_names_no_other_place(tmp_path):
    folder = write_dataset(tmp_path / "images", 1)
    (tmp_path / "secret").write_text("secret", encoding="utf-8")
    (folder / "00.caption").write_text("theirs", encoding="utf-8")
    assert glance(str(folder), extension=".caption").shown[0].caption == "theirs"
    for extension in ("./../../secret", "/../../secret", "..\\..\\secret"):
        assert glance(str(folder), extension=extension).shown[0].caption == "a zkteal circle number 0"
