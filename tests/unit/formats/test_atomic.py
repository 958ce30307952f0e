"""A write leaves the old file or the new one."""

from __future__ import annotations

import json
import os
import platform
import struct
import subprocess
import sys
import time
import tracemalloc

import pytest
import safetensors.torch
import torch

from pivotal.errors import FormatError
from pivotal.formats import atomic
from pivotal.formats.atomic import SUFFIX, remove_leftovers, tensors_to_bytes, write_bytes, write_pieces, write_tensors


def test_a_file_is_replaced_whole(tmp_path):
    path = tmp_path / "a.bin"
    write_bytes(path, b"old")
    write_bytes(path, b"new and longer")
    assert path.read_bytes() == b"new and longer" and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_after_a_failure_the_old_file_stands_and_nothing_else(tmp_path, monkeypatch, call):
    path = tmp_path / "a.bin"
    write_bytes(path, b"old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, call, full)
    with pytest.raises(OSError, match="No space") as told:
        write_bytes(path, b"new")
    assert told.value.filename == str(path), "and not the temporary one's"
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


def test_the_same_tensors_give_the_same_bytes_whatever_their_order():
    one = {"b": torch.arange(6.0).reshape(2, 3), "a": torch.ones(3, dtype=torch.float16)}
    facts = {f"key {number}": str(number) for number in range(20)}
    first = tensors_to_bytes(one, facts)
    second = tensors_to_bytes(dict(reversed(one.items())), dict(reversed(facts.items())))
    assert first == second


def test_a_file_is_laid_out_as_the_library_lays_it_out():
    """So that hashes of files stay what they were; all formats, a number of its own, and nothing at all."""
    one = {f"{name}.{index}": torch.arange(index * 3).reshape(-1, 3).to(getattr(torch, name)) for index in range(3) for name in (
        "float32", "float16", "bfloat16", "float64", "int64", "int32", "int16", "int8", "uint8", "bool", "float8_e4m3fn")}
    one["alpha"] = torch.tensor(4.0)
    ours, theirs = tensors_to_bytes(one, {"who": "we"}), safetensors.torch.save(one, {"who": "we"})
    headers, data = zip(*((json.loads(file[8:8 + struct.unpack("<Q", file[:8])[0]]), file[8 + struct.unpack("<Q", file[:8])[0]:])
                          for file in (ours, theirs)), strict=True)
    assert len(one) == 34 and headers[0] == headers[1] and data[0] == data[1]


def test_a_file_is_written_without_a_copy_of_it_in_memory(tmp_path):
    path, tensors = tmp_path / "state", {str(number): torch.zeros(250_000) for number in range(4)}
    tracemalloc.start()
    write_tensors(path, tensors, {})
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert path.stat().st_size > 4_000_000 and peak < 400_000


def test_numbers_that_no_reader_knows_are_refused():
    with pytest.raises(FormatError, match=r"odd: numbers of torch.complex128"):
        tensors_to_bytes({"odd": torch.zeros(2, dtype=torch.complex128)}, {})


def test_another_reader_gets_back_what_was_written(tmp_path):
    path = tmp_path / "x.safetensors"
    tensors = {"t": torch.randn(4, 5).t(), "half": torch.randn(3).half(), "ints": torch.arange(3)}
    write_tensors(path, tensors, {"who": "wir, \u00fcber uns"})
    read = safetensors.torch.load_file(str(path))
    assert set(read) == set(tensors)
    for name, tensor in tensors.items():
        assert torch.equal(read[name], tensor) and read[name].dtype == tensor.dtype
    with safetensors.safe_open(str(path), framework="pt") as file:
        assert file.metadata() == {"who": "wir, \u00fcber uns"}


def test_leftovers_of_a_killed_process_are_removed_and_nothing_else(tmp_path):
    left, whole = tmp_path / f".emb.safetensors.1234{SUFFIX}", tmp_path / "emb.safetensors"
    for path in (left, whole):
        path.write_bytes(b"half")
        os.utime(path, (time.time() - 3600,) * 2)
    assert remove_leftovers(tmp_path) == [left]
    assert [path.name for path in tmp_path.iterdir()] == ["emb.safetensors"]


def test_what_a_process_that_is_gone_has_left_is_removed_at_once(tmp_path, monkeypatch):
    gone = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True, check=True)
    names = []
    for process, machine in ((gone.stdout.strip(), "here"), (os.getpid(), "here"), (gone.stdout.strip(), "elsewhere")):
        monkeypatch.setattr(os, "getpid", lambda process=process: process)
        monkeypatch.setattr(platform, "node", lambda machine=machine: machine)
        monkeypatch.setattr(os, "replace", lambda old, _: names.append(old))
        write_bytes(tmp_path / "emb.safetensors", b"half")
    monkeypatch.setattr(platform, "node", lambda: "here")
    assert remove_leftovers(tmp_path) == names[:1]


def test_what_somebody_else_is_writing_is_no_leftover(tmp_path):
    def pieces():
        yield b"first "
        assert remove_leftovers(tmp_path) == []  # as another run does at its start
        yield b"second"

    write_pieces(tmp_path / "emb.safetensors", pieces())
    assert (tmp_path / "emb.safetensors").read_bytes() == b"first second"


def test_a_folder_that_may_be_written_to_and_not_listed_is_enough(tmp_path, monkeypatch):
    def refused(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refused)
    write_bytes(tmp_path / "a", b"new")
    assert (tmp_path / "a").read_bytes() == b"new"


def test_a_file_that_a_scanner_holds_for_a_moment_is_waited_for(tmp_path, monkeypatch):
    replace, held = os.replace, iter([PermissionError(13, "held"), PermissionError(13, "held"), None])

    def replace_when_free(*paths):
        if error := next(held):
            raise error
        replace(*paths)

    monkeypatch.setattr(atomic, "LOOKS_EVERY_S", 0.0)
    monkeypatch.setattr(os, "replace", replace_when_free)
    write_bytes(tmp_path / "a", b"new")
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"new"]
