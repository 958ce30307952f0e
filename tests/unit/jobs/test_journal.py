"""A run's journal leaves out what finds no room, and nothing of it stays half written."""

from __future__ import annotations

import errno
import io
import json

from pivotal.events import Noticed
from pivotal.jobs.logs.journal import journal


class Narrow(io.FileIO):
    """A file on a disk with room for so many bytes more."""

    room = 10_000

    def write(self, data):
        taken = min(len(data), self.room)
        if not taken:
            raise OSError(errno.ENOSPC, "No space left on device")
        self.room -= taken
        return super().write(data[:taken])


class Place:
    """A path that opens such a file."""

    def __init__(self, path):
        self.path, self.file = path, None

    def open(self, mode, buffering):
        assert buffering == 0
        self.file = Narrow(self.path, mode.replace("b", ""))
        return self.file


def test_what_finds_no_room_is_left_out_and_the_rest_is_whole(tmp_path):
    path, told = tmp_path / "events.jsonl", []
    path.write_text('{"event": "of an earlier run"}\n', "utf-8")
    place = Place(path)
    with journal(place, told.append) as emit:
        emit(Noticed("one"))
        place.file.room = 20  # a part of a line
        emit(Noticed("two"))
        emit(Noticed("three"))
        place.file.room = 10_000  # somebody made room
        emit(Noticed("f\u00fcr"))
    lines = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    assert [line.get("text", line["event"]) for line in lines] == ["of an earlier run", "one", "f\u00fcr"]
    assert [event.text for event in told] == ["one", "two", "three", "f\u00fcr"]  # whoever watches hears of all
