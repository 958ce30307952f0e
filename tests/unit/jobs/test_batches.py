"""What a batch says of its images, whoever has encoded them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from pivotal.config.sections.caption import Caption
from pivotal.data.captions import Captions
from pivotal.data.concepts import Concept, Wording
from pivotal.data.folder import Item
from pivotal.data.order import Order
from pivotal.data.view import Fit, View
from pivotal.jobs.batches import DatasetBatches


class Store:
    """Encodes nothing: a latent is its view's index."""

    def __init__(self, views):
        self.views = views

    def load(self, places):
        return SimpleNamespace(places=places, size_ids=None, masks=None, inpainting=None)

    def encoded(self, loaded):
        return loaded

    def latents(self, loaded, generator):
        return torch.tensor([float(view) for view, _ in loaded.places])


def tokenizer(texts, **_):
    return {"input_ids": [[ord(letter) for letter in text] for text in texts]}


@pytest.fixture
def made(monkeypatch):
    def make(concepts, views, size=1, **rules):
        items = [Item(Path(f"{index}.png"), "a, b, c, d, e, f", concept=index % len(concepts)) for index in range(2)]
        monkeypatch.setattr("pivotal.jobs.batches.tokenize_caption", lambda text, *_, **__: text)
        captions = Captions(items, [Concept(weight=weight, prior=prior, wording=Wording(rules=Caption(**rules)))
                                    for weight, prior in concepts], 1)
        return DatasetBatches(Store(views), captions, Order(views, size, 1), seed=1, tokenizer=tokenizer, placeholders={},
                              rules=Caption(**rules))
    return make


def view(item, size=(64, 64), rate=1.0, phase=0.0):
    return View(item, Fit(size, size, (0, 0), size), rate, phase)


def test_usual_concepts_have_neither_weights_nor_priors(made):
    with made([(1.0, False)], [view(0), view(1)], 2) as batches:
        batch = batches.at(0)
    assert batch.weights is None and batch.prior is None and sorted(batch.items) == [0, 1] and batches.images == 2


def test_each_image_has_its_concepts_weight_and_prior(made):
    with made([(0.5, False), (2.0, True)], [view(0), view(1)], 2) as batches:
        batch = batches.at(2)
    assert [(item, weight, prior) for item, weight, prior in zip(batch.items, batch.weights.tolist(), batch.prior.tolist(),
                                                                 strict=True)] in (
        [(0, 0.5, False), (1, 2.0, True)], [(1, 2.0, True), (0, 0.5, False)])
    assert batch.latents.tolist() == [float(item) for item in batch.items]


def test_an_image_at_two_sizes_gets_new_words_each_time_it_is_seen(made):
    views = [view(item, size, 0.5, phase) for item in (0, 1) for size, phase in (((64, 64), 0.0), ((96, 96), 0.5))]
    with made([(1.0, False)], views, shuffle=True) as batches:
        seen = [(batch.items[0], batch.prompts[0]) for batch in map(batches.at, range(80))]
    texts = [text for item, text in seen if item == 0]
    # Of 720 orders 40 draws are rarely twice the same one; were both views' times counted alike, half of them would be.
    assert len(texts) == 40 and Counter(texts).most_common(1)[0][1] <= 3 and len(set(texts)) >= 35


def test_batches_come_out_alike_whatever_was_read_ahead(made):
    one, other = (made([(1.0, False)], [view(0), view(1)], shuffle=True) for _ in range(2))
    with one, other:
        whole = [one.at(position).prompts for position in range(12)]
        assert [other.at(position).prompts for position in (7, 3, 11, 0)] == [whole[place] for place in (7, 3, 11, 0)]
