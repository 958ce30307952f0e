"""A state comes back as it was written, or is refused in words."""

from __future__ import annotations

import pytest
import torch

from pivotal.errors import FormatError
from pivotal.formats.state_file import State, read_state, write_state


def test_a_state_comes_back_to_the_bit(tmp_path):
    state = State({"step": 3, "loss": 0.1 + 0.2, "config": {"a.b": [1, None, "ä"]}},
                  {"x": torch.randn(3), "y": torch.tensor(7.0), "z": torch.zeros(0)})
    write_state(tmp_path / "s.safetensors", state)
    back = read_state(tmp_path / "s.safetensors")
    assert back.facts == state.facts
    assert all(torch.equal(back.tensors[name], tensor) for name, tensor in state.tensors.items())


def test_a_missing_a_foreign_and_a_cut_state_are_refused(tmp_path):
    path = tmp_path / "s.safetensors"
    with pytest.raises(FormatError, match="nothing to resume"):
        read_state(path)
    write_state(path, State({"step": 1}, {"x": torch.ones(1000)}))
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(FormatError, match="damaged"):
        read_state(path)
