"""Cutting around faces, with an OpenCV that sees what the test says."""

from __future__ import annotations

import sys
import types

import numpy as np
import pytest
from PIL import Image

from pivotal.config.sections.augment import Augment
from pivotal.data import faces
from pivotal.data.augment import Change, changed_fit
from pivotal.data.buckets import cover
from pivotal.data.versions import StoreSettings, Versions
from pivotal.errors import DatasetError


@pytest.fixture
def seen(monkeypatch):
    """The boxes (left, top, width, height) that the fake OpenCV finds, and what it was shown."""
    found = types.SimpleNamespace(boxes=[], shown=[])

    class Cascade:
        def __init__(self, path):
            assert path.endswith("haarcascade_frontalface_default.xml")

        def detectMultiScale(self, image, scale, neighbours, minSize):  # noqa: N802, N803
            found.shown.append((image.shape, image.dtype, minSize))
            return np.array(found.boxes, dtype=np.int32) if found.boxes else ()

    fake = types.ModuleType("cv2")
    fake.CascadeClassifier, fake.data = Cascade, types.SimpleNamespace(haarcascades="/there/")
    fake.__version__ = "5.0.0"
    monkeypatch.setitem(sys.modules, "cv2", fake)
    return found


def test_the_largest_face_is_taken_and_looked_for_in_a_small_copy(tmp_path, seen):
    Image.new("RGB", (1280, 960)).save(tmp_path / "x.png")
    assert faces.find_face(tmp_path / "x.png") is None
    seen.boxes = [(0, 0, 40, 40), (400, 100, 80, 80), (10, 10, 50, 50)]
    assert faces.find_face(tmp_path / "x.png") == pytest.approx((140 / 480, 440 / 640))
    assert seen.shown[0] == ((480, 640), np.uint8, (40, 40))
    (tmp_path / "y.png").write_bytes(b"x")
    with pytest.raises(DatasetError, match=r"y\.png cannot be read"):
        faces.find_face(tmp_path / "y.png")


def test_without_opencv_4_the_option_says_how_to_get_it(monkeypatch, seen):
    assert faces.face_problems(Augment(faces=True)) == {}
    del sys.modules["cv2"].CascadeClassifier
    assert "and version 5.0.0 looks for no faces" in faces.face_problems(Augment(faces=True))["augment.faces"]
    monkeypatch.setitem(sys.modules, "cv2", None)  # as if it were not installed
    assert faces.face_problems(Augment()) == {}
    said = faces.face_problems(Augment(faces=True))["augment.faces"]
    assert "it is not installed" in said and 'pip install "opencv-python-headless<5"' in said


def test_what_is_cut_out_has_the_face_in_its_middle_as_far_as_the_image_reaches():
    fit = cover((100, 300), (64, 64))  # scaled to 64 x 192
    for across, left in ((0.5, 64), (0.25, 16), (0.0, 0), (0.9, 128), (0.6, 83.2)):
        found = changed_fit(fit, Change(focus=(0.3, across)))
        assert found.offset[0] == 0 and found.offset[1] == pytest.approx(left, abs=1)
    zoomed = changed_fit(fit, Change(focus=(0.5, 0.25), zoom=2.0))
    assert zoomed.scaled == (128, 384) and zoomed.offset == pytest.approx((32, 64), abs=1)
    turned = changed_fit(fit, Change(focus=(0.5, 0.3), angle=20))
    middle = (turned.offset[1] + 32) / turned.scaled[1]
    assert middle == pytest.approx(0.3, abs=0.01)


def test_faces_decide_for_all_versions_of_their_image():
    items = [types.SimpleNamespace(path=types.SimpleNamespace(name=name), concept=0) for name in "ab"]
    views = [types.SimpleNamespace(item=item, fit=cover((64, 128), (64, 64))) for item in range(2)]
    versions = Versions(items, views, StoreSettings(1, augment=Augment(faces=True, flip=0.5)), reads_masks=False)
    versions.faces = {1: (0.5, 0.75)}
    lefts = {(key.view, key.flip): versions.size_ids(key)[3] for key in versions.keys()}
    assert lefts == {(0, False): 32, (0, True): 32, (1, False): 64, (1, True): 0}
