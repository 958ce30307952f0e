"""What the text encoders answer is kept, and is the same as if it were not."""

from __future__ import annotations

import pytest
import torch

from pivotal.embeddings.trained import TrainedEmbedding
from pivotal.models.layers import TEXT, UNET
from pivotal.networks.network import Network
from pivotal.prompts.chunks import tokenize_caption
from pivotal.training.part import Part
from pivotal.training.seeds import generator
from pivotal.training.settings import Settings
from pivotal.training.text_cache import TextCache, text_cache_of, text_stays
from pivotal.training.text_files import TextFiles, text_mark
from tiny import tiny_model, tokenizer

TEXTS = ("a red cat", "zkteal on a table", "", ", ".join(f"word {index}" for index in range(50)))


@pytest.fixture(scope="module", params=["sd1", "sd2", "sdxl"])
def model(request):
    return tiny_model(request.param)


def test_kept_outputs_are_those_of_the_text_encoders(model):
    vectors = {"zkteal": [torch.randn(2, width, generator=generator(1, "v")) for width in model.widths]}
    prompts = [tokenize_caption(text, tokenizer(), {"zkteal": 2}) for text in TEXTS]
    assert [len(prompt.chunks) for prompt in prompts] == [1, 1, 1, 3]
    cache = TextCache()
    for order in ((0, 1), (2, 0, 1), (3, 1), (1, 3, 2, 0)):
        chosen = [prompts[index] for index in order]
        expected, found = model.encode_prompts(chosen, vectors), cache.encode(model, chosen, vectors)
        torch.testing.assert_close(found.hidden, expected.hidden, rtol=1e-5, atol=1e-6)
        assert (found.pooled is None) == (expected.pooled is None)
        if found.pooled is not None:
            torch.testing.assert_close(found.pooled, expected.pooled, rtol=1e-5, atol=1e-6)
    assert cache.encoded == 6  # each chunk once; the empty caption is what pads


def test_what_is_kept_does_not_depend_on_what_came_before(model):
    prompts = [tokenize_caption(text, tokenizer(), {}) for text in TEXTS]
    first, second = TextCache(), TextCache()
    first.encode(model, prompts, {})
    one, other = (cache.encode(model, prompts[:2], {}) for cache in (first, second))
    assert torch.equal(one.hidden, other.hidden)


def test_the_oldest_goes_when_there_is_no_room():
    model = tiny_model("sd1")
    prompts = [tokenize_caption(text, tokenizer(), {}) for text in ("a", "b", "c")]
    cache = TextCache(most_bytes=2 * 77 * model.widths[0] * 4)
    for index in (0, 1, 0, 2, 0, 1):
        cache.encode(model, [prompts[index]], {})
    assert cache.encoded == 4  # b was used longest ago when c came


def test_text_stays_only_when_nothing_of_it_learns():
    def network(name):
        return Part(Network(name, "lora", [], generator(1, "n")), 1.0)

    def embedding(learns):
        return Part(TrainedEmbedding("x", [torch.zeros(1, 4)]), 1.0, learns=learns)

    assert text_stays([network(UNET)]) and text_stays([network(UNET), embedding(False)])
    assert not text_stays([network(UNET), embedding(True)])
    assert not text_stays([network(UNET), network(TEXT[0])])


def on_disk(folder, model, compute=torch.float32):
    return TextCache(files=TextFiles(folder, text_mark(model, compute)))


def test_a_later_run_finds_what_an_earlier_one_kept_to_the_last_bit(model, tmp_path):
    vectors = {"zkteal": [torch.randn(2, width, generator=generator(1, "v")) for width in model.widths]}
    prompts = [tokenize_caption(text, tokenizer(), {"zkteal": 2}, emphasis=True) for text in (*TEXTS, "a (red:1.4) cat")]
    first, later = on_disk(tmp_path, model), on_disk(tmp_path, model)
    expected, found = (cache.encode(model, prompts, vectors) for cache in (first, later))
    assert (first.encoded, later.encoded) == (7, 0) and len(list(tmp_path.iterdir())) == 7
    assert torch.equal(found.hidden, expected.hidden)
    assert found.pooled is None or torch.equal(found.pooled, expected.pooled)


def test_another_model_or_embedding_finds_nothing_of_it(tmp_path):
    model, other = tiny_model("sd1"), tiny_model("sd1", seed=1)
    prompt = tokenize_caption("zkteal on a table", tokenizer(), {"zkteal": 2})
    vectors, others = ({"zkteal": [torch.full((2, model.widths[0]), value)]} for value in (0.1, 0.2))
    on_disk(tmp_path, model).encode(model, [prompt], vectors)
    for one, told, compute in ((other, vectors, torch.float32), (model, others, torch.float32), (model, vectors, torch.bfloat16)):
        cache = on_disk(tmp_path, one, compute)
        cache.encode(one, [prompt], told)
        assert cache.encoded == 1
    same = on_disk(tmp_path, model)
    same.encode(model, [prompt], vectors)
    assert same.encoded == 0


def test_a_damaged_file_is_made_anew_and_a_full_disk_stops_nothing(tmp_path, monkeypatch):
    model, prompt = tiny_model("sd1"), tokenize_caption("a red cat", tokenizer(), {})
    on_disk(tmp_path, model).encode(model, [prompt], {})
    (path,) = tmp_path.iterdir()
    data = bytearray(path.read_bytes())
    data[-3] ^= 255
    path.write_bytes(data)
    cache = on_disk(tmp_path, model)
    cache.encode(model, [prompt], {})
    assert cache.encoded == 1
    monkeypatch.setattr("pivotal.formats.kept_files.write_tensors", lambda *_: (_ for _ in ()).throw(OSError("full")))
    cache = on_disk(tmp_path / "none", model)
    assert cache.encode(model, [prompt], {}).hidden.shape[1] == 77 and cache.encoded == 1


def test_files_are_used_only_where_nothing_is_on_the_text_encoders(tmp_path):
    model = tiny_model("sd1")
    frozen = Part(Network(TEXT[0], "lora", [], generator(1, "n")), 1.0, learns=False)
    parts = [Part(Network(UNET, "lora", [], generator(1, "n")), 1.0)]
    settings = Settings(1, 1, 1, torch.float32, cache_text=True, text_folder=tmp_path)
    prompt = tokenize_caption("a red cat", tokenizer(), {})
    for used, kept in (([*parts, frozen], 0), (parts, 1)):
        text_cache_of(model, used, settings).encode(model, [prompt], {})
        assert len(list(tmp_path.iterdir())) == kept
    assert text_cache_of(model, parts, Settings(1, 1, 1, torch.float32)) is None
