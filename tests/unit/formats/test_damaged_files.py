"""Whatever a damaged file holds, its reader says so in one sentence."""

from __future__ import annotations

import random

import pytest
import torch

from pivotal.errors import FormatError
from pivotal.formats.embedding_file import encoders_in, read_embedding
from pivotal.formats.embedding_writing import embedding_files
from pivotal.formats.network_file import network_bytes, read_network

LAYER = {"lora_unet_mid_block_attentions_0_proj_in": {
    "lora_up.weight": torch.ones(4, 1), "lora_down.weight": torch.ones(1, 4), "alpha": torch.tensor(1.0)}}
VECTORS = torch.linspace(-1, 1, 32).reshape(2, 16)


def written() -> list[tuple[str, bytes]]:
    files = [(".safetensors", network_bytes(LAYER, {"word": (VECTORS,)}, {"ss_v2": "False"}))]
    for style in ("a1111-pt", "a1111-png", "kohya-pt", "diffusers-bin", "onetrainer"):
        files += list(embedding_files("word", (VECTORS,), style).items())
    return files


def damaged(data: bytes, chance: random.Random) -> bytes:
    """Cut off, or some bytes changed, mostly near the beginning, where a format says what follows."""
    if chance.random() < 0.3:
        return data[:chance.randrange(len(data))]
    changed = bytearray(data)
    for _ in range(chance.choice((1, 3, 20))):
        changed[chance.randrange(min(len(data), 600 if chance.random() < 0.7 else len(data)))] = chance.randrange(256)
    return bytes(changed)


@pytest.mark.parametrize("index", range(6))
def test_damage_is_told_or_does_no_harm(tmp_path, index):
    chance = random.Random(index)
    suffix, data = written()[index]
    path, told = tmp_path / f"x{suffix}", []
    for _ in range(60):
        path.write_bytes(damaged(data, chance))
        for read in (read_network, encoders_in, lambda file: read_embedding(file, 1), lambda file: read_embedding(file, 2)):
            try:
                read(path)
            except FormatError as error:
                told.append(str(error))
    assert len(told) > 100
    assert [text for text in told if f"x{suffix}" not in text or "\n" in text] == []
