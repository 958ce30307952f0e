"""Embeddings of every trainer are read; what we write, every host's rules accept."""

from __future__ import annotations

import pickle

import pytest
import safetensors.torch
import torch

from pivotal.errors import FormatError
from pivotal.formats.embedding_file import embedding_bytes, encoders_in, read_embedding

VECTORS = torch.arange(16.0).reshape(2, 8) / 7
G = torch.arange(24.0).reshape(2, 12) / 9
A1111_PT = {"string_to_token": {"*": 265}, "string_to_param": {"*": torch.nn.Parameter(VECTORS)}, "name": "x",
            "step": 10, "sd_checkpoint": None, "sd_checkpoint_name": None}


def save(path, content):
    if path.suffix == ".safetensors":
        safetensors.torch.save_file(content, str(path))
    else:
        torch.save(content, path)
    return path


@pytest.mark.parametrize(("name", "content"), [
    ("kohya.safetensors", {"emb_params": VECTORS}), ("onetrainer.safetensors", {"emp_params": VECTORS}),
    ("onetrainer-out.safetensors", {"emp_params": VECTORS, "emp_params_out": VECTORS * 2}),
    ("diffusers.bin", {"<cat>": VECTORS}), ("invoke.safetensors", {"word": VECTORS}), ("a1111.pt", A1111_PT),
    ("kohya.pt", {"emb_params": VECTORS})])
def test_an_embedding_for_one_encoder_is_read_whoever_wrote_it(tmp_path, name, content):
    (found,) = read_embedding(save(tmp_path / name, content), 1)
    assert torch.equal(found, VECTORS) and found.dtype == torch.float32


@pytest.mark.parametrize("name", ["x.safetensors", "x.pt"])
@pytest.mark.parametrize("keys", [("clip_l", "clip_g"), ("text_encoders_0", "text_encoders_1")])
def test_an_sdxl_embedding_is_read_in_the_encoders_order(tmp_path, name, keys):
    path = save(tmp_path / name, {keys[1]: G, keys[0]: VECTORS})
    left, right = read_embedding(path, 2)
    assert encoders_in(path) == 2
    assert torch.equal(left, VECTORS) and torch.equal(right, G)


def test_one_vector_of_one_dimension_is_a_row(tmp_path):
    (found,) = read_embedding(save(tmp_path / "one.bin", {"<x>": VECTORS[0].half()}), 1)
    assert found.shape == (1, 8)


@pytest.mark.parametrize(("content", "encoders", "said"), [
    ({"clip_l": VECTORS, "clip_g": G}, 1, "SDXL"), ({"emb_params": VECTORS}, 2, "no 'clip_l'"),
    ({"clip_l": VECTORS, "clip_g": G[:1]}, 2, "same number"), ({"a": VECTORS, "b": VECTORS + 1}, 1, "2 tensors"),
    ({"a": VECTORS * float("nan")}, 1, "not finite"), ({"a": torch.ones(2, 3, 4)}, 1, "(2, 3, 4)"),
    ({"a": torch.arange(4)}, 1, "floating"), ({"emb_params": torch.ones(0, 8)}, 1, "x.safetensors")])
def test_what_is_no_fitting_embedding_is_named(tmp_path, content, encoders, said):
    with pytest.raises(FormatError) as error:
        read_embedding(save(tmp_path / "x.safetensors", content), encoders)
    assert said in str(error.value)


class Evil:
    def __reduce__(self):
        return (print, ("code in a pickle ran",))


@pytest.mark.parametrize("name", ["evil.pt", "evil.bin"])
def test_a_pickle_with_code_is_refused_unrun_and_left_where_it_is(tmp_path, name, capsys, monkeypatch):
    path = tmp_path / name
    path.write_bytes(pickle.dumps({"emb_params": Evil()}))
    # As hosts do: A1111 1.10.1 answers None, Forge renames the file. Neither may come into play.
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("the host's torch.load was used"))
    with pytest.raises(FormatError, match="code"):
        read_embedding(path, 1)
    assert capsys.readouterr().out == "" and path.exists()


@pytest.mark.parametrize("data", [b"", b"x" * 100, b"\xff" * 8 + b"{}"])
@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_a_damaged_file_is_refused_in_words(tmp_path, data, suffix):
    path = tmp_path / f"x{suffix}"
    path.write_bytes(data)
    with pytest.raises(FormatError, match="x"):
        read_embedding(path, 1)


def test_what_we_write_has_the_keys_that_hosts_read():
    one = safetensors.torch.load(embedding_bytes([VECTORS], {}))
    two = safetensors.torch.load(embedding_bytes([VECTORS, G], {}))
    assert set(one) == {"emb_params"} and set(two) == {"clip_l", "clip_g"}
    assert torch.equal(two["clip_g"], G)
