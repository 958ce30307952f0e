"""A write leaves the old file or the new one."""

from __future__ import annotations

import os

import pytest
import safetensors.torch
import torch

from pivotal.formats.atomic import SUFFIX, remove_leftovers, tensors_to_bytes, write_bytes, write_tensors


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
    with pytest.raises(OSError, match="No space"):
        write_bytes(path, b"new")
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


def test_the_same_tensors_give_the_same_bytes_whatever_their_order():
    one = {"b": torch.arange(6.0).reshape(2, 3), "a": torch.ones(3, dtype=torch.float16)}
    facts = {f"key {number}": str(number) for number in range(20)}
    first = tensors_to_bytes(one, facts)
    second = tensors_to_bytes(dict(reversed(one.items())), dict(reversed(facts.items())))
    assert first == second


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
    (tmp_path / f".emb.safetensors.1234{SUFFIX}").write_bytes(b"half")
    (tmp_path / "emb.safetensors").write_bytes(b"whole")
    assert len(remove_leftovers(tmp_path)) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["emb.safetensors"]
