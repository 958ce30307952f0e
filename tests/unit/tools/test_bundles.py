"""Bundles are taken apart and put together without touching anything else."""

from __future__ import annotations

import pytest
import safetensors.torch
import torch
from tests.unit.tools.made import random, write_network

from pivotal.config.build import build
from pivotal.errors import FormatError, OptionError
from pivotal.formats.embedding_file import read_embedding
from pivotal.formats.embedding_writing import EMBEDDING_STYLES
from pivotal.formats.network_file import model_hash, read_network
from pivotal.tools.bundles import add_to_bundle, convert_embedding, remove_from_bundle, rename_in_bundle, split_bundle
from pivotal.tools.settings import AddToBundle, ConvertEmbedding, RemoveFromBundle, RenameInBundle, SplitBundle

ONE, TWO, XL = (random(1, 768),), (random(2, 768),), (random(3, 768), random(3, 1280))
METADATA = {"ss_v2": "False", "ss_output_name": "in", "ss_network_dim": "6", "note": "keep"}


def bundled(tmp_path, **words):
    return write_network(tmp_path / "in.safetensors", words=words, metadata=METADATA)


def embedding(path, vectors):
    names = ("emb_params",) if len(vectors) == 1 else ("clip_l", "clip_g")
    safetensors.torch.save_file(dict(zip(names, vectors, strict=True)), str(path))
    return path


@pytest.mark.parametrize("count", [1, 3, 20])
def test_a_bundle_is_split_and_put_together_again(tmp_path, count):
    words = {f"word{n}": (random(n % 4 + 1, 768, seed=n),) for n in range(count)}
    source = bundled(tmp_path, **words)
    report = split_bundle(build(SplitBundle, {"source": str(source)}))
    folder = tmp_path / "in_embeddings"
    assert set(report.files) == {folder / f"{word}.safetensors" for word in words}
    bare = tmp_path / "bare.safetensors"
    remove_from_bundle(build(RemoveFromBundle, {"source": str(source), "target": str(bare)}))
    assert read_network(bare).embeddings == {}
    add_to_bundle(build(AddToBundle, {"source": str(bare), "embeddings": [str(path) for path in report.files],
                                      "target": str(tmp_path / "again" / "in")}))
    assert (tmp_path / "again" / "in.safetensors").read_bytes() == source.read_bytes()


@pytest.mark.parametrize("style", sorted(set(EMBEDDING_STYLES) - {"a1111-pt"}))
def test_a_bundle_of_sdxl_is_split_in_any_format(tmp_path, style):
    source = bundled(tmp_path, word=XL)
    split_bundle(build(SplitBundle, {"source": str(source), "folder": str(tmp_path / "f"), "style": style}))
    found = read_embedding(tmp_path / "f", 2)
    assert all(torch.equal(a, b) for a, b in zip(found, XL, strict=True))


def test_what_is_not_the_bundles_stays_to_the_bit(tmp_path):
    layer = "lora_unet_x"
    source = tmp_path / "in.safetensors"
    tensors = {f"{layer}.lora_up.weight": random(4, 2).half(), f"{layer}.lora_down.weight": random(2, 4).bfloat16(),
               f"{layer}.unheard_of": torch.arange(3), "bundle_emb.old.emb_params": ONE[0].half()}
    safetensors.torch.save_file(tensors, str(source), METADATA)
    report = rename_in_bundle(build(RenameInBundle, {
        "source": str(source), "word": "old", "new_word": "new", "target": str(tmp_path / "out")}))
    out = tmp_path / "out.safetensors"
    found = safetensors.torch.load_file(str(out))
    expected = {key.replace(".old.", ".new."): tensor for key, tensor in tensors.items()}
    assert set(found) == set(expected) and report.text == "old is now new."
    for key, tensor in expected.items():
        assert torch.equal(found[key], tensor) and found[key].dtype == tensor.dtype
    metadata = read_network(out).metadata
    assert metadata["note"] == "keep" and metadata["ss_output_name"] == "out"
    assert metadata["sshs_model_hash"] == model_hash(out.read_bytes())


def test_some_words_are_removed_and_the_others_stay(tmp_path):
    source = bundled(tmp_path, one=ONE, two=TWO)
    remove_from_bundle(build(RemoveFromBundle, {"source": str(source), "words": ["one"], "target": str(tmp_path / "out")}))
    assert set(read_network(tmp_path / "out.safetensors").embeddings) == {"two"}


def test_an_embedding_is_added_under_a_word_of_ones_choice(tmp_path):
    source, added = bundled(tmp_path, one=ONE), embedding(tmp_path / "v1.5.safetensors", TWO)
    with pytest.raises(FormatError, match=r"'v1\.5' has a dot"):
        add_to_bundle(build(AddToBundle, {"source": str(source), "embeddings": [str(added)], "target": str(tmp_path / "out")}))
    settings = {"source": str(source), "embeddings": [f"better={added}"], "target": str(tmp_path / "out")}
    report = add_to_bundle(build(AddToBundle, settings))
    assert torch.equal(read_network(tmp_path / "out.safetensors").embeddings["better"][0], TWO[0])
    assert report.text == "Added better (2 vectors of width 768)."


@pytest.mark.parametrize(("vectors", "said"), [
    (XL, "is an embedding for SDXL"), ((random(1, 1024),), "is for sd1, the embeddings are for sd2")])
def test_an_embedding_of_another_family_is_not_added(tmp_path, vectors, said):
    source, added = bundled(tmp_path), embedding(tmp_path / "other.safetensors", vectors)
    with pytest.raises(FormatError, match=said):
        add_to_bundle(build(AddToBundle, {"source": str(source), "embeddings": [str(added)], "target": str(tmp_path / "out")}))


@pytest.mark.parametrize(("run", "section", "settings", "said"), [
    (add_to_bundle, AddToBundle, {"embeddings": ["one.safetensors"]}, "already has an embedding one"),
    (remove_from_bundle, RemoveFromBundle, {"words": ["three"]}, "no embedding 'three' bundled in it; it has one"),
    (rename_in_bundle, RenameInBundle, {"word": "three", "new_word": "x"}, "no embedding 'three'"),
    (rename_in_bundle, RenameInBundle, {"word": "one", "new_word": "two"}, "already has an embedding two")])
def test_words_that_are_missing_or_taken_are_named(tmp_path, monkeypatch, run, section, settings, said):
    monkeypatch.chdir(tmp_path)
    bundled(tmp_path, one=ONE, two=TWO)
    embedding(tmp_path / "one.safetensors", ONE)
    with pytest.raises(FormatError) as error:
        run(build(section, {"source": "in.safetensors", "target": "out", **settings}))
    assert said in str(error.value) and not (tmp_path / "out.safetensors").exists()


def test_a_word_that_breaks_the_file_is_refused_as_a_new_name(tmp_path):
    source = bundled(tmp_path, one=ONE)
    with pytest.raises(OptionError, match="has a dot"):
        rename_in_bundle(build(RenameInBundle, {"source": str(source), "word": "one", "new_word": "v1.5", "target": "x"}))


def test_a_network_without_a_bundle_cannot_be_split(tmp_path):
    with pytest.raises(FormatError, match="no embeddings bundled"):
        split_bundle(build(SplitBundle, {"source": str(bundled(tmp_path))}))


def test_words_become_names_that_every_file_system_takes(tmp_path):
    source = write_network(tmp_path / "in.safetensors", words={"<a/b>: c": ONE})
    (path,) = split_bundle(build(SplitBundle, {"source": str(source)})).files
    assert path.name == "_a_b__ c.safetensors" and path.is_file()


@pytest.mark.parametrize("words", [("a/b", "a:b"), ("Word", "word")])
def test_words_that_would_be_one_file_on_some_system_are_named(tmp_path, words):
    source = write_network(tmp_path / "two.safetensors", words=dict(zip(words, (ONE, TWO), strict=True)))
    with pytest.raises(FormatError, match="two of its words"):
        split_bundle(build(SplitBundle, {"source": str(source)}))
    assert not (tmp_path / "two_embeddings").exists()


@pytest.mark.parametrize(("style", "ending"), [("a1111-pt", ".pt"), ("a1111-png", ".png"), ("diffusers-bin", ".bin"),
                                               ("onetrainer", ".safetensors"), ("kohya", ".safetensors")])
def test_an_embedding_is_converted_and_its_word_is_the_new_files_name(tmp_path, style, ending):
    source = embedding(tmp_path / "old.safetensors", TWO)
    settings = {"source": str(source), "target": str(tmp_path / "v1.new"), "style": style}
    report = convert_embedding(build(ConvertEmbedding, settings))
    assert report.files == (tmp_path / f"v1.new{ending}",)
    assert torch.equal(read_embedding(report.files[0], 1)[0], TWO[0])


def test_a_bundled_embedding_is_converted_by_its_word(tmp_path):
    source = bundled(tmp_path, one=ONE, two=TWO)
    settings = {"source": str(source), "target": str(tmp_path / "x.pt"), "style": "a1111-pt", "name": "two"}
    convert_embedding(build(ConvertEmbedding, settings))
    assert torch.equal(read_embedding(tmp_path / "x.pt", 1)[0], TWO[0])
    with pytest.raises(FormatError, match="exists, and nothing was written"):
        convert_embedding(build(ConvertEmbedding, settings))
