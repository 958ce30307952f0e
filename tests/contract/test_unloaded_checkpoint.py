"""What a chosen checkpoint is before it is loaded, told by files that are looked at and never run."""

import pickle
from pathlib import Path

import pytest
import torch

from pivotal.hosts.unloaded import unloaded
from tiny import tiny_tensors, write_tiny


class Bomb:
    def __reduce__(self):
        return (Path.write_text, (Path("ran.txt"), "it ran"))


@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl"])
def test_a_pickled_checkpoint_is_known_by_its_tensors_names(tmp_path, family):
    torch.save({"state_dict": tiny_tensors(family), "epoch": 3}, tmp_path / "old.ckpt")
    expected = unloaded("new", write_tiny(tmp_path / "new.safetensors", family))
    told = unloaded("old", tmp_path / "old.ckpt")
    assert (told.name, told.family, told.blocks) == ("old", family, expected.blocks)
    assert told.blocks == 4  # one convolution, two layers, one downsampling


def test_a_replaced_one_is_read_again(tmp_path):
    path = tmp_path / "x.ckpt"
    torch.save({"state_dict": tiny_tensors("sd1")}, path)
    assert unloaded("x", path).family == "sd1"
    torch.save({"state_dict": tiny_tensors("sdxl")}, path)
    assert unloaded("x", path).family == "sdxl"


def test_nothing_in_it_is_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": tiny_tensors("sd1"), "callbacks": Bomb()}, "bomb.ckpt")
    assert unloaded("bomb", Path("bomb.ckpt")).family == "sd1"
    assert not Path("ran.txt").exists()
    with pytest.raises(pickle.UnpicklingError):
        torch.serialization.load("bomb.ckpt", weights_only=True)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut off", pickle.dumps({"state_dict": 1})])
def test_a_damaged_or_older_one_is_unknown(tmp_path, content):
    (tmp_path / "x.ckpt").write_bytes(content)
    assert unloaded("x", tmp_path / "x.ckpt").family == "unknown"
    assert unloaded("x", tmp_path / "missing.ckpt").family == "unknown"


def test_a_network_is_unknown_as_it_is_no_checkpoint(tmp_path):
    torch.save({"lora_unet_x.lora_down.weight": torch.zeros(1)}, tmp_path / "x.ckpt")
    assert unloaded("x", tmp_path / "x.ckpt").family == "unknown"
