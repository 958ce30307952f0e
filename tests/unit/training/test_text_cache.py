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
from pivotal.training.text_cache import TextCache, text_stays
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
