"""Masks that are made, images that are cut, and networks that look at them: tiny ones, with weights of chance."""

from __future__ import annotations

import base64
import io
import sys
import types

import numpy as np
import pytest
import torch
import transformers
from PIL import Image, ImageDraw

from pivotal.config.build import build
from pivotal.data.folder import Reading, read_items
from pivotal.data.images import check_mask
from pivotal.errors import DatasetError, OptionError
from pivotal.tools.dataset.captioners import captioner, placed
from pivotal.tools.dataset.commands import caption_images, mask_images, prepare_images
from pivotal.tools.dataset.cutting import automatic_size, detail_box, share_cut_off, split_boxes
from pivotal.tools.dataset.mask_files import delete_mask, mask_size, read_mask_file, save_painted, write_mask
from pivotal.tools.dataset.mask_making import combined, finished, grown
from pivotal.tools.dataset.places import open_place
from pivotal.tools.dataset.settings import CaptionImages, MaskImages, PrepareImages
from pivotal.tools.dataset.wd14 import chosen


def picture(path, size=(60, 40), box=(20, 10, 40, 30)):
    """White with a green rectangle; `box` is its left, top, right and bottom, the latter two not in it."""
    image = Image.new("RGB", size, "white")
    ImageDraw.Draw(image).rectangle((box[0], box[1], box[2] - 1, box[3] - 1), fill="#00ff00")
    image.save(path)
    return path


def png(image):
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "images").mkdir()
    picture(tmp_path / "images" / "a.png")
    (tmp_path / "images" / "a.txt").write_text("a green box", encoding="utf-8")
    return tmp_path / "images"


def mask_in(folder, name="a"):
    return np.asarray(Image.open(folder / f"{name}-masklabel.png"))


# --- masks


def test_a_mask_by_colour_is_white_where_the_colour_is(folder):
    settings = build(MaskImages, {"folder": str(folder), "how": "colour", "threshold": 0.9, "grow": 0, "blur": 0})
    assert "masks for 1 written" in mask_images(settings).text
    mask = mask_in(folder)
    assert mask.shape == (40, 60) and set(np.unique(mask)) == {0, 255}
    assert (mask == 255).sum() == 20 * 20 and mask[10, 20] == 255 and mask[9, 20] == 0 and mask[29, 39] == 255
    (item,) = read_items(folder, Reading())
    check_mask(folder / "a-masklabel.png", item.size)  # as training reads it


@pytest.mark.parametrize(("by", "side"), [(3, 26), (-4, 12), (0, 20)])
def test_growing_moves_the_edge_by_so_many_pixels(by, side):
    mask = np.zeros((40, 60), dtype=np.float32)
    mask[10:30, 20:40] = 1
    assert grown(mask, by).sum() == side * side


def test_blur_keeps_the_sum_and_inverting_twice_is_nothing():
    mask = np.zeros((80, 80), dtype=np.float32)
    mask[30:50, 30:50] = 1
    soft = finished(mask, MaskImages(threshold=0.5, grow=0, blur=3))
    assert soft.sum() == pytest.approx(400, rel=0.02) and 0.4 < soft[30, 40] < 0.6 and soft[0, 0] == 0
    assert np.allclose(finished(mask, MaskImages(threshold=0.5, grow=0, blur=3, invert=True)), 1 - soft)
    assert finished(mask * 0.4, MaskImages(threshold=0, grow=0, blur=0)).max() == pytest.approx(0.4)


def test_masks_are_joined_as_it_is_said():
    made, old = np.array([[0.0, 1.0, 1.0]]), np.array([[0.5, 0.25, 1.0]])
    assert combined(made, old, "replace").tolist() == [[0, 1, 1]]
    assert combined(made, old, "add").tolist() == [[0.5, 1, 1]]
    assert combined(made, old, "subtract").tolist() == [[0.5, 0, 0]]
    assert combined(made, None, "subtract").tolist() == [[1, 0, 0]]


def test_fill_leaves_painted_masks_alone_and_transparency_makes_one(folder):
    write_mask(folder / "a-masklabel.png", np.full((40, 60), 0.5))
    clear = Image.new("RGBA", (60, 40), (255, 0, 0, 0))
    clear.paste((255, 0, 0, 255), (0, 0, 30, 40))
    clear.save(folder / "b.png")
    report = mask_images(build(MaskImages, {"folder": str(folder), "how": "transparency", "grow": 0, "blur": 0}))
    assert "2 images, masks for 1 written" in report.text
    assert set(np.unique(mask_in(folder))) == {128}
    assert (mask_in(folder, "b") == 255).sum() == 30 * 40
    report = mask_images(build(MaskImages, {"folder": str(folder), "how": "transparency", "combine": "replace"}))
    assert "1 could not be done. a.png: it has no transparency" in report.text


def test_a_painted_mask_is_checked_before_it_is_decoded(folder):
    place = open_place(str(folder))
    painted = Image.new("RGBA", (60, 40), (0, 0, 0, 255))
    painted.paste((255, 255, 255, 255), (0, 0, 30, 40))
    assert save_painted(place, "a.png", png(painted)) == folder / "a-masklabel.png"
    assert mask_in(folder).mean() == 127.5
    for bad, words in ((png(Image.new("L", (61, 40))), "must have 60x40"), ("x", "PNG in base64"),
                       (base64.b64encode(b"\x89PNG\r\n\x1a\n" + b"x" * 50).decode(), "cannot be read")):
        with pytest.raises(DatasetError, match=words):
            save_painted(place, "a.png", bad)
    with pytest.raises(DatasetError, match="is no image of"):
        save_painted(place, "../a.png", png(painted))
    assert mask_in(folder).mean() == 127.5
    delete_mask(place, "a.png")
    assert not (folder / "a-masklabel.png").exists() and (folder / "a.png").exists()
    assert read_mask_file(folder / "a-masklabel.png", (60, 40)) is None


def test_masks_of_huge_images_are_smaller():
    assert mask_size((8192, 100)) == (4096, 50) and mask_size((512, 768)) == (512, 768)


# --- cutting


def test_a_tall_image_is_split_with_overlap():
    # 512 x 2048 at 512 x 512: (2048 - 102.4) / (512 * 0.8) = 4.75, so 5 parts, 1536 / 4 = 384 px apart.
    boxes = split_boxes((512, 2048), 512, 512, at=0.5, overlap=0.2)
    assert [box[1] for box in boxes] == [0, 384, 768, 1152, 1536] and boxes[-1] == (0, 1536, 512, 2048)
    assert split_boxes((512, 1000), 512, 512, at=0.5, overlap=0.2) is None
    wide = split_boxes((4096, 1024), 512, 512, at=0.5, overlap=0.2)
    assert [box[0] for box in wide] == [0, 384, 768, 1152, 1536] and wide[0] == (0, 0, 512, 512)


def test_the_automatic_size_is_the_best_of_all_that_are_allowed():
    assert automatic_size((1000, 1000), (384, 768), (4096, 640 * 640), 0.1, True) == (640, 640)
    # 3:2 within 600 x 600 px: 576 x 384 cuts off nothing, 640 x 448 4.8 % and 704 x 448 4.5 %.
    assert automatic_size((3000, 2000), (384, 768), (4096, 600 * 600), 0.1, False) == (576, 384)
    assert automatic_size((3000, 2000), (384, 768), (4096, 600 * 600), 0.1, True) == (704, 448)
    assert automatic_size((3000, 1000), (384, 768), (4096, 640 * 640), 0.1, True) is None
    assert share_cut_off((300, 100), (200, 100)) == pytest.approx(1 / 3)


def test_detail_is_what_is_kept():
    image = Image.new("RGB", (400, 100), "gray")
    noise = np.random.default_rng(0).integers(0, 255, (100, 100, 3), dtype=np.uint8)
    image.paste(Image.fromarray(noise), (270, 0))
    left, top, right, bottom = detail_box(image, 100, 100)
    assert abs(left - 270) <= 4 and (top, right - left, bottom) == (0, 100, 100)
    assert detail_box(Image.new("RGB", (400, 100)), 100, 100) == (150, 0, 250, 100)


def test_copies_are_cut_mirrored_and_captioned_and_the_images_stay(folder, tmp_path):
    write_mask(folder / "a-masklabel.png", np.hstack([np.ones((40, 30)), np.zeros((40, 30))]))
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    target = tmp_path / "cut"
    flat = {"folder": str(folder), "target": str(target), "width": 32, "height": 32, "flip": True}
    assert "1 images" in prepare_images(build(PrepareImages, flat)).text
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert sorted(path.name for path in target.iterdir()) == [
        "a-flipped-masklabel.png", "a-flipped.png", "a-flipped.txt", "a-masklabel.png", "a.png", "a.txt"]
    plain, mirrored = (np.asarray(Image.open(target / name)) for name in ("a.png", "a-flipped.png"))
    assert plain.shape == (32, 32, 3) and (plain[:, ::-1] == mirrored).all()
    # 60 x 40 becomes 48 x 32, of which the middle 32 columns stay: the mask's edge at 24 of 48 is at 16 of 32.
    assert (mask_in(target)[:, :16] == 255).all() and (mask_in(target)[:, 16:] == 0).all()
    assert (target / "a-flipped.txt").read_text(encoding="utf-8") == "a green box"
    with pytest.raises(DatasetError, match="exists; it was left as it is"):
        prepare_images(build(PrepareImages, flat))
    prepare_images(build(PrepareImages, {**flat, "replace": True}))


def test_results_never_go_among_the_images(folder, tmp_path):
    for target, extra in ((folder, {}), (folder / "sub", {"subfolders": True}), (folder / "a.png", {}), ("", {})):
        with pytest.raises(OptionError) as caught:
            prepare_images(build(PrepareImages, {"folder": str(folder), "target": str(target), **extra}))
        assert list(caught.value.problems) == ["target"]


# --- networks


class _Tokenizer:
    """Stands where AutoTokenizer's answer would: one token a letter."""

    def __call__(self, text, **_):
        text = text if isinstance(text, str) else text[0]
        ids = torch.tensor([[1, *(3 + ord(letter) % 20 for letter in text), 2]])
        return types.SimpleNamespace(input_ids=ids, attention_mask=torch.ones_like(ids))


@pytest.fixture
def blip_folder(tmp_path):
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[DEC]", *(f"word{number}" for number in range(26))]
    where = tmp_path / "blip"
    where.mkdir()
    (where / "vocab.txt").write_text("\n".join(words), encoding="utf-8")
    small = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = {**small, "vocab_size": len(words), "encoder_hidden_size": 16, "bos_token_id": 5, "eos_token_id": 3, "sep_token_id": 3,
            "pad_token_id": 0, "max_position_embeddings": 80}
    vision = {**small, "image_size": 32, "patch_size": 16}
    config = transformers.BlipConfig(text_config=text, vision_config=vision, projection_dim=16)
    transformers.set_seed(0)
    model = transformers.BlipForConditionalGeneration(config)
    with torch.no_grad():
        head = model.text_decoder.cls.predictions
        for bias in {id(one): one for one in (head.bias, head.decoder.bias)}.values():
            bias[:6] = -9  # words only
    model.save_pretrained(where, safe_serialization=True)
    transformers.BertTokenizer(str(where / "vocab.txt"), additional_special_tokens=["[DEC]"]).save_pretrained(where)
    return where


def test_blip_writes_captions_where_they_are_missing(folder, blip_folder):
    picture(folder / "b.png")
    flat = {"folder": str(folder), "model": str(blip_folder)}
    assert "2 images, captions for 1 written" in caption_images(build(CaptionImages, flat)).text
    words = (folder / "b.txt").read_text(encoding="utf-8").split()
    assert words and all(word.startswith("word") for word in words)
    assert (folder / "a.txt").read_text(encoding="utf-8") == "a green box"
    caption_images(build(CaptionImages, {**flat, "place": "behind", "start": "word3"}))
    text = (folder / "a.txt").read_text(encoding="utf-8")
    assert text.startswith("a green box, word3") and len(text.split()) > 3


def test_a_network_that_cannot_be_had_is_told_with_the_command(folder, tmp_path):
    (tmp_path / "empty").mkdir()
    for settings in ({"model": str(tmp_path / "empty")}, {"model": "owner/none"}):
        with pytest.raises(DatasetError, match=r"cannot be loaded: .*huggingface-cli download"):
            caption_images(build(CaptionImages, {"folder": str(folder), "place": "replace", **settings}))
    with pytest.raises(DatasetError, match="huggingface-cli download CIDAS/clipseg-rd64-refined"):
        mask_images(build(MaskImages, {"folder": str(folder), "prompt": "a box"}))
    with pytest.raises(OptionError, match="needs words"):
        mask_images(build(MaskImages, {"folder": str(folder)}))


@pytest.mark.parametrize(("package", "run"), [
    ("rembg", lambda folder: mask_images(build(MaskImages, {"folder": folder, "how": "rembg"}))),
    ("onnxruntime", lambda folder: caption_images(build(CaptionImages, {"folder": folder, "captioner": "WD14"}))),
])  # fmt: skip
def test_a_package_that_is_missing_is_told_with_the_command(folder, monkeypatch, package, run):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(OptionError, match=f"run pip install .*{package}"):
        run(str(folder))


def test_clipseg_masks_are_what_the_network_sees(folder, tmp_path, monkeypatch):
    small = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4}
    config = transformers.CLIPSegConfig(
        text_config={**small, "vocab_size": 30, "max_position_embeddings": 32, "bos_token_id": 1, "eos_token_id": 2},
        vision_config={**small, "image_size": 352, "patch_size": 32}, projection_dim=32, extract_layers=[0, 1, 2], reduce_dim=32,
        decoder_num_attention_heads=4, decoder_intermediate_size=32, conditional_layer=0)
    transformers.set_seed(0)
    where = tmp_path / "clipseg"
    transformers.CLIPSegForImageSegmentation(config).save_pretrained(where, safe_serialization=True)
    monkeypatch.setattr(transformers.AutoTokenizer, "from_pretrained", lambda *_, **__: _Tokenizer())
    flat = {"folder": str(folder), "prompt": "a box", "model": str(where), "threshold": 0, "grow": 0, "blur": 0,
            "combine": "replace"}
    assert "masks for 1 written" in mask_images(build(MaskImages, flat)).text
    first = mask_in(folder).copy()
    assert first.shape == (40, 60) and first.std() > 0
    mask_images(build(MaskImages, {**flat, "prompt": "quite another thing"}))
    assert (mask_in(folder) != first).any()  # the words decide


def test_tags_are_those_that_are_sure_enough(folder, tmp_path, monkeypatch):
    assert chosen([("general", 9), ("long_hair", 0), ("o_o", 0), ("miku", 4), ("sky", 0)], [0.9, 0.5, 0.8, 0.6, 0.2], 0.35) == [
        "miku", "o_o", "long hair"]
    where = tmp_path / "tagger"
    where.mkdir()
    (where / "model.onnx").write_bytes(b"")
    (where / "selected_tags.csv").write_text("tag_id,name,category,count\n1,green_box,0,5\n2,sky,0,5\n", encoding="utf-8")
    seen = []

    class Session:
        def __init__(self, *_, **__):
            pass

        def get_inputs(self):
            return [types.SimpleNamespace(name="put", shape=[1, 16, 16, 3])]

        def run(self, _, values):
            seen.append(values["put"])
            return [np.array([[0.8, 0.1]])]

    monkeypatch.setitem(sys.modules, "onnxruntime", types.SimpleNamespace(InferenceSession=Session,
                                                                          get_available_providers=lambda: ["CPU"]))
    settings = CaptionImages(model=str(where))
    with captioner(settings, {}, "WD14") as describe:
        assert describe(Image.new("RGB", (40, 20), "#ff0000")) == "green box"
    pixels = seen[0]
    assert pixels.shape == (1, 16, 16, 3) and pixels.dtype == np.float32
    assert pixels[0, 8, 8].tolist() == [0, 0, 255] and pixels[0, 0, 0].tolist() == [255, 255, 255]  # BGR, padded with white


def test_words_are_put_where_it_is_said():
    assert [placed("new", "old", place) for place in ("only missing", "replace", "before", "behind")] == [
        None, "new", "new, old", "old, new"]
    assert placed("new", " ", "only missing") == "new" and placed(" ", None, "replace") is None
    with pytest.raises(OptionError, match="there are BLIP, WD14, mine"), captioner(CaptionImages(), {"mine": str}, "other"):
        pass
