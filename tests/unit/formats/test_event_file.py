"""TensorBoard's files, read back record by record."""

from __future__ import annotations

import io

import pytest
from PIL import Image

from pivotal.formats.event_file import EventFile, crc32c
from plain_events import fields, records


@pytest.mark.parametrize(("data", "expected"), [  # RFC 3720, appendix B.4
    (bytes(32), 0x8A9136AA), (b"\xff" * 32, 0x62A8AB43), (bytes(range(32)), 0x46DD794E),
    (bytes(range(31, -1, -1)), 0x113FDB5C)])
def test_the_checksum_is_that_of_the_rfc(data, expected):
    assert crc32c(data) == expected


def test_curves_and_pictures_are_read_back(tmp_path):
    picture = io.BytesIO()
    Image.new("RGB", (6, 4), (1, 2, 3)).save(picture, "PNG")
    file = EventFile(tmp_path / "runs")
    file.scalar("loss/step", 0.25, 3)
    file.scalar("loss/step", 1.5, 300)
    file.image("sample/zkteal", picture.getvalue(), 4, 6, 300)
    file.close()
    (path,) = (tmp_path / "runs").iterdir()
    assert path.name.startswith("events.out.tfevents.")
    events = [fields(record) for record in records(path.read_bytes())]
    assert events[0][3] == b"brain.Event:2" and events[0][1] > 1.6e9
    values = [fields(fields(event[5])[1]) for event in events[1:]]
    assert [event[2] for event in events[1:]] == [3, 300, 300]
    assert [value[1] for value in values] == [b"loss/step", b"loss/step", b"sample/zkteal"]
    assert [value[2] for value in values[:2]] == [0.25, 1.5]
    assert fields(values[2][4]) == {1: 4, 2: 6, 3: 3, 4: picture.getvalue()}


def test_what_is_flushed_can_be_read_while_the_run_goes_on(tmp_path):
    file = EventFile(tmp_path)
    file.scalar("a", 1.0, 1)
    file.flush()
    (path,) = tmp_path.iterdir()
    assert len(records(path.read_bytes())) == 2
    file.close()
