"""Every trainer's embedding files give the same vectors, and are written so that their readers take them."""

from __future__ import annotations

import base64
import io
import json
import zlib

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from pivotal.errors import FormatError
from pivotal.formats.embedding_file import bundled_words, encoders_in, read_embedding
from pivotal.formats.embedding_image import image_bytes, read_image
from pivotal.formats.embedding_writing import EMBEDDING_STYLES, embedding_files
from pivotal.formats.network_file import network_bytes

L = torch.randn(3, 768, generator=torch.Generator().manual_seed(0))
G = torch.randn(3, 1280, generator=torch.Generator().manual_seed(1))
A1111 = {"string_to_token": {"*": 265}, "string_to_param": {"*": L}, "name": "word", "step": 10, "sd_checkpoint": None,
         "sd_checkpoint_name": None}
LAYER = {"lora_unet_mid_block_attentions_0_proj_in": {
    "lora_up.weight": torch.ones(4, 1), "lora_down.weight": torch.ones(1, 4), "alpha": torch.tensor(1.0)}}


def json_text(content) -> str:
    """A1111's own encoding: tensors as nested lists under TORCHTENSOR."""
    return json.dumps(content, default=lambda tensor: {"TORCHTENSOR": tensor.tolist()})


def in_a_text(path, content):
    text = PngInfo()
    text.add_text("sd-ti-embedding", base64.b64encode(json_text(content).encode()).decode())
    Image.new("RGB", (64, 64), (9, 9, 9)).save(path, pnginfo=text)


def in_pixels(path, content):
    """As A1111's insert_image_data_embed weaves it, without its ornament."""
    data = np.frombuffer(zlib.compress(json_text(content).encode(), 9), np.uint8)
    height = 96
    columns = -(-len(data) // (height * 3)) + 1
    mask, value = [], 0
    for _ in range(height * columns * 3):
        value = (1664525 * value + 1013904223) % 2**32
        mask.append(value % 255 & 15)
    mask = np.array(mask, np.uint8).reshape(height, columns, 3)
    halves = [np.resize(half, height * columns * 3).reshape(height, columns, 3) ^ mask for half in (data & 15, data >> 4)]
    image = Image.new("RGB", (2 * columns + 66, height), (0, 0, 0))
    image.paste(Image.fromarray(halves[0]), (0, 0))
    image.paste(Image.new("RGB", (64, height), (200, 100, 50)), (columns + 1, 0))
    image.paste(Image.fromarray(halves[1]), (columns + 66, 0))
    image.save(path)


def save(path, content):
    if path.suffix == ".safetensors":
        safetensors.torch.save_file(content, str(path))
    else:
        torch.save(content, path)


FORMATS = {
    "AUTOMATIC1111 .pt": lambda folder: save(folder / "x.pt", A1111),
    "AUTOMATIC1111 .pt of Parameters": lambda folder: save(
        folder / "x.pt", A1111 | {"string_to_param": {"*": torch.nn.Parameter(L)}}),
    "AUTOMATIC1111 picture's text": lambda folder: in_a_text(folder / "x.png", A1111),
    "AUTOMATIC1111 picture's pixels": lambda folder: in_pixels(folder / "x.png", A1111),
    "kohya .safetensors": lambda folder: save(folder / "x.safetensors", {"emb_params": L}),
    "kohya .pt": lambda folder: save(folder / "x.pt", {"emb_params": L}),
    "OneTrainer": lambda folder: save(folder / "x.safetensors", {"emp_params": L}),
    "OneTrainer with output vectors": lambda folder: save(
        folder / "x.safetensors", {"emp_params": L, "emp_params_out": L * 2}),
    "Invoke": lambda folder: save(folder / "x.safetensors", {"word": L}),
    "diffusers .bin": lambda folder: save(folder / "learned_embeds.bin", {"<word>": L}),
    "diffusers .safetensors": lambda folder: save(folder / "learned_embeds.safetensors", {"<word>": L}),
    "bundle in a LoRA": lambda folder: (folder / "x.safetensors").write_bytes(network_bytes(LAYER, {"word": (L,)}, {}, "fp16")),
    "OneTrainer's bundle": lambda folder: save(folder / "x.safetensors", {"bundle_emb.<word>.clip_l": L}),
}
FORMATS_XL = {
    "kohya, OneTrainer and Invoke": lambda folder: save(folder / "x.safetensors", {"clip_l": L, "clip_g": G}),
    "kohya .pt": lambda folder: save(folder / "x.pt", {"clip_g": G, "clip_l": L}),
    "OneTrainer with output vectors": lambda folder: save(
        folder / "x.safetensors", {"clip_l": L, "clip_g": G, "clip_l_out": L * 0, "clip_g_out": G * 0}),
    "diffusers' two files": lambda folder: (save(folder / "learned_embeds.safetensors", {"<word>": L}),
                                            save(folder / "learned_embeds_2.safetensors", {"<word>": G})),
    "diffusers' two .bin": lambda folder: (save(folder / "a.bin", {"<word>": L}), save(folder / "a_2.bin", {"<word>": G})),
    "picture": lambda folder: in_a_text(folder / "x.png", {"clip_l": L, "clip_g": G}),
    "bundle in a LoRA": lambda folder: (folder / "x.safetensors").write_bytes(network_bytes(LAYER, {"word": (L, G)}, {}, "bf16")),
}


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_for_one_encoder_gives_the_same_vectors(tmp_path, name):
    FORMATS[name](tmp_path)
    (found,) = read_embedding(tmp_path, 1)
    assert torch.equal(found, L) and found.dtype == torch.float32 and encoders_in(tmp_path) == 1


@pytest.mark.parametrize("name", FORMATS_XL)
def test_every_format_for_sdxl_gives_the_same_vectors(tmp_path, name):
    FORMATS_XL[name](tmp_path)
    left, right = read_embedding(tmp_path, 2)
    assert torch.equal(left, L) and torch.equal(right, G) and encoders_in(tmp_path) == 2


def written(folder, style, vectors):
    for ending, data in embedding_files("word", vectors, style).items():
        (folder / f"word{ending}").write_bytes(data)
    return folder


@pytest.mark.parametrize("style", EMBEDDING_STYLES)
def test_what_is_written_in_any_format_is_read_again(tmp_path, style):
    (found,) = read_embedding(written(tmp_path, style, (L,)), 1)
    assert torch.equal(found, L)


@pytest.mark.parametrize("style", sorted(set(EMBEDDING_STYLES) - {"a1111-pt"}))
def test_what_is_written_for_sdxl_in_any_format_is_read_again(tmp_path, style):
    left, right = read_embedding(written(tmp_path, style, (L, G)), 2)
    assert torch.equal(left, L) and torch.equal(right, G)


def test_a_format_without_a_place_for_two_encoders_says_so():
    with pytest.raises(FormatError, match="no place for two"):
        embedding_files("word", (L, G), "a1111-pt")
    with pytest.raises(FormatError, match=r"a1111-pt.*diffusers"):
        embedding_files("word", (L,), "comfy")


@pytest.mark.parametrize("style", ["a1111-pt", "kohya-pt", "diffusers-bin"])
def test_pickled_files_are_not_the_zip_that_a1111_reads_as_nothing(style):
    """modules/safe.py of AUTOMATIC1111 1.10.1 knows the entries of older zip files only, and answers None."""
    (data,) = embedding_files("word", (L,), style).values()
    assert not data.startswith(b"PK")
    content = torch.serialization.load(io.BytesIO(data), weights_only=True)
    assert torch.equal(next(iter(content.get("string_to_param", content).values())), L)


def test_the_keys_are_the_ones_that_each_trainer_reads():
    def keys(style, *vectors):
        return [set(safetensors.torch.load(data)) for data in embedding_files("word", vectors, style).values()]

    assert keys("kohya", L) == [{"emb_params"}] and keys("onetrainer", L) == [{"emp_params"}]
    assert keys("invoke", L) == keys("diffusers", L) == [{"word"}]
    assert keys("kohya", L, G) == keys("onetrainer", L, G) == keys("invoke", L, G) == [{"clip_l", "clip_g"}]
    assert keys("diffusers", L, G) == [{"word"}, {"word"}]


def test_a_picture_keeps_its_embedding_when_its_texts_are_stripped(tmp_path):
    (tmp_path / "x.png").write_bytes(image_bytes(A1111, Image.linear_gradient("L").convert("RGB")))
    with Image.open(tmp_path / "x.png") as image:
        assert "sd-ti-embedding" in image.text
        image.convert("RGB").save(tmp_path / "bare.png")
        stripe = np.asarray(image)[:, 0]
        assert image.size[0] > 256 and stripe.min() >= 16, "black edges would be cut off"
    with Image.open(tmp_path / "bare.png") as image:
        assert not image.text
    assert torch.equal(read_image(tmp_path / "bare.png")["string_to_param"]["*"], L)


@pytest.mark.parametrize("colour", [(0, 0, 0), (1, 2, 3), (255, 255, 255)])
def test_an_ordinary_picture_is_no_embedding(tmp_path, colour):
    image = Image.new("RGB", (64, 64), colour)
    image.paste((0, 0, 0), (20, 0, 22, 64))
    image.paste((0, 0, 0), (42, 0, 44, 64))
    image.save(tmp_path / "x.png")
    with pytest.raises(FormatError, match="a picture without an embedding"):
        read_embedding(tmp_path / "x.png", 1)


def test_a_damaged_picture_is_named(tmp_path):
    (tmp_path / "x.png").write_bytes(image_bytes(A1111)[:2000])
    with pytest.raises(FormatError, match=r"x\.png is a damaged picture"):
        read_embedding(tmp_path / "x.png", 1)


def test_of_several_bundled_embeddings_one_must_be_named(tmp_path):
    path = tmp_path / "x.safetensors"
    path.write_bytes(network_bytes(LAYER, {"one": (L,), "two": (L * 2,)}, {}))
    assert bundled_words(path) == ["one", "two"]
    with pytest.raises(FormatError, match="say which: one, two"):
        read_embedding(path, 1)
    assert torch.equal(read_embedding(path, 1, "two")[0], L * 2)
    with pytest.raises(FormatError, match="no embedding 'three' bundled in it; it has one, two"):
        read_embedding(path, 1, "three")


def test_a_network_without_embeddings_is_named(tmp_path):
    (tmp_path / "x.safetensors").write_bytes(network_bytes(LAYER, {}, {}))
    with pytest.raises(FormatError, match="a LoRA without an embedding"):
        read_embedding(tmp_path / "x.safetensors", 1)


def test_a_bundle_of_another_family_is_named(tmp_path):
    (tmp_path / "x.safetensors").write_bytes(network_bytes(LAYER, {"one": (L, G)}, {}))
    with pytest.raises(FormatError, match="is an embedding for SDXL"):
        read_embedding(tmp_path / "x.safetensors", 1)


def test_a_folder_with_two_embeddings_is_ambiguous(tmp_path):
    save(tmp_path / "a.safetensors", {"emb_params": L})
    save(tmp_path / "b.pt", {"emb_params": L})
    with pytest.raises(FormatError, match="2 files"):
        read_embedding(tmp_path, 1)
