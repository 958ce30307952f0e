"""Which of the kept files go: the old ones, then those used longest ago; never one in use, never one that is not ours."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from pivotal.formats import kept_files
from pivotal.formats.kept_files import DAY, Cleaned, clean, mark_used, size_words

MB = 10**6


def kept(folder: Path, ages: dict[str, float], size: int = MB) -> dict[str, Path]:
    """A file for each letter, so many days old."""
    paths = {}
    for letter, days in ages.items():
        path = folder / f"{letter * 64}.safetensors"
        path.write_bytes(b"x" * size)
        os.utime(path, (time.time() - days * DAY,) * 2)
        paths[letter] = path
    return paths


def left(paths: dict[str, Path]) -> str:
    return "".join(letter for letter, path in paths.items() if path.exists())


@pytest.mark.parametrize(("limits", "stay"), [
    ({"days": None, "gb": None}, "abcd"), ({"days": 30, "gb": None}, "bcd"), ({"days": 5, "gb": None}, "cd"),
    ({"days": None, "gb": 0.003}, "bcd"), ({"days": None, "gb": 0.0025}, "cd"), ({"days": 30, "gb": 0.001}, "d"),
    ({"days": 0, "gb": None}, "d"), ({"days": None, "gb": 0}, "d")])  # the last was used within the hour
def test_the_oldest_go_until_the_limits_hold(tmp_path, limits, stay):
    paths = kept(tmp_path, {"a": 40, "b": 10, "c": 2, "d": 0.01})
    done = clean([tmp_path], **limits)
    assert left(paths) == stay
    gone = 4 - len(stay)
    assert done == Cleaned(gone, gone * MB, len(stay), len(stay) * MB)


def test_what_is_in_use_stays_and_counts_into_the_room(tmp_path):
    paths = kept(tmp_path, {"a": 40, "b": 10, "c": 2})
    clean([tmp_path], days=1, gb=0.002, in_use={paths["a"]})
    assert left(paths) == "a"
    paths = kept(tmp_path, {"a": 40, "b": 10, "c": 2})
    clean([tmp_path], days=None, gb=0.002, in_use={paths["a"]})
    assert left(paths) == "ac"


def test_other_files_and_folders_are_never_touched(tmp_path):
    others = [tmp_path / name for name in ("my.safetensors", "a" * 64 + ".txt", "A" * 64 + ".safetensors", "notes.txt")]
    for path in others:
        path.write_bytes(b"mine")
        os.utime(path, (0, 0))
    (tmp_path / ("b" * 64 + ".safetensors")).mkdir()
    assert clean([tmp_path], days=0, gb=0).removed == 0 and all(path.exists() for path in others)
    assert clean([tmp_path / "none"], days=0, gb=0) == Cleaned(0, 0, 0, 0)


def test_a_use_makes_a_file_young_and_a_file_that_cannot_go_is_counted_as_kept(tmp_path, monkeypatch):
    paths = kept(tmp_path, {"a": 40, "b": 40})
    mark_used(paths["a"])
    mark_used(tmp_path / "none")
    assert time.time() - paths["a"].stat().st_mtime < 60
    monkeypatch.setattr(Path, "unlink", lambda *_: (_ for _ in ()).throw(PermissionError("read by another")))
    assert clean([tmp_path], days=30, gb=None) == Cleaned(0, 0, 2, 2 * MB)
    monkeypatch.undo()
    assert clean([tmp_path], days=30, gb=None).removed == 1 and left(paths) == "a"


def test_a_use_is_noted_only_now_and_then(tmp_path, monkeypatch):
    path, noted = kept(tmp_path, {"a": 0})["a"], []
    monkeypatch.setattr(kept_files.os, "utime", lambda *given: noted.append(given))
    mark_used(path)
    assert noted == []


@pytest.mark.parametrize(("size", "words"), [(0, "less than 1 MB"), (34_400_000, "34 MB"), (1_250_000_000, "1.2 GB")])
def test_sizes_are_said_as_one_says_them(size, words):
    assert size_words(size) == words
