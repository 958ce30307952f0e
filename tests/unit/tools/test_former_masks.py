"""Automatic masks are taken back byte for byte, but for what somebody has painted over since."""

import pytest

from fake_host import write_dataset
from pivotal.errors import DatasetError
from pivotal.tools.dataset.opened import Opened
from pivotal.tools.dataset.places import Place


def test_the_masks_before_the_last_automatic_ones_come_back(tmp_path):
    folder = write_dataset(tmp_path / "images", 4)
    masks = [folder / f"0{number}-masklabel.png" for number in range(4)]
    masks[0].write_bytes(b"mine")
    masks[2].write_bytes(b"painted")
    masks[3].write_bytes(b"kept as it is")

    def make(name):
        if name == "03.png":
            return ""
        (folder / name).with_name(f"{name[:2]}-masklabel.png").write_bytes(b"made")
        return name

    opened = Opened(Place(folder), tmp_path / "scratch", len)
    with opened.masking(make) as step:
        for image in opened.images():
            step(image.name)
    assert [mask.read_bytes() for mask in masks] == [b"made", b"made", b"made", b"kept as it is"]
    masks[2].write_bytes(b"painted anew")
    again = Opened(Place(folder), tmp_path / "scratch", len)  # after a restart
    assert again.undoes_masks
    undone = again.undo_masks()
    assert (undone.back, undone.left) == (("00.png", "01.png"), ("02.png",))
    assert masks[0].read_bytes() == b"mine" and not masks[1].exists()
    assert masks[2].read_bytes() == b"painted anew" and masks[3].read_bytes() == b"kept as it is"
    assert not again.undoes_masks
    with pytest.raises(DatasetError, match="no automatic masks"):
        again.undo_masks()


def test_a_former_mask_that_cannot_be_put_back_now_can_be_later(tmp_path, monkeypatch):
    folder = write_dataset(tmp_path / "images", 1)
    mask = folder / "00-masklabel.png"
    mask.write_bytes(b"mine")
    opened = Opened(Place(folder), tmp_path / "scratch", len)
    with opened.masking(lambda name: mask.write_bytes(b"made") and name) as step:
        step("00.png")

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("pivotal.tools.dataset.former_masks.write_bytes", full)
        assert opened.undo_masks().left == ("00.png",) and mask.read_bytes() == b"made"
    assert opened.undo_masks().back == ("00.png",) and mask.read_bytes() == b"mine"
