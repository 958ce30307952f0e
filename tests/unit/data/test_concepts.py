"""How often images of each kind are seen."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from pivotal.data.buckets import make_views
from pivotal.data.concepts import Concept, held_back, rates
from pivotal.data.folder import Item
from pivotal.data.order import Order
from pivotal.data.view import Fit

FIT = Fit((64, 64), (64, 64), (0, 0), (64, 64))


def items(*counts: int) -> list[Item]:
    return [Item(Path(f"{concept}-{index}.png"), "x", concept=concept)
            for concept, count in enumerate(counts) for index in range(count)]


def test_a_share_is_held_back_by_name_and_never_all():
    images = items(20)
    own, back = held_back(images, 0.25, 3)
    assert len(back) == 5 and sorted(own + back, key=images.index) == images
    assert held_back(images[::-1], 0.25, 3)[1] == back[::-1]  # whatever their order
    assert held_back(images, 0.25, 4)[1] != back
    assert [len(held_back(items(count), share, 3)[1]) for count, share in ((1, 0.9), (2, 0.9), (9, 0.01), (9, 0))] == [0, 1, 1, 0]


def test_repeats_and_exact_numbers():
    found = rates(items(2, 3, 10), [Concept(), Concept(repeats=2.5), Concept(images_per_epoch=4, repeats=9)])
    assert found == [1, 1, 2.5, 2.5, 2.5, *[0.4] * 10]


def test_regularization_is_as_much_as_training_however_many_images_it_has():
    for count in (3, 12, 50):
        concepts = [Concept(repeats=2), Concept(repeats=0.5), Concept(kind="regularization")]
        found = rates(items(4, 8, count), concepts)
        assert sum(found[12:]) == pytest.approx(12) == sum(found[:12])
    halved = rates(items(4, 7, 9), [Concept(), Concept(kind="regularization", repeats=0.5), Concept(kind="regularization")])
    assert sum(halved[4:11]) == pytest.approx(0.5 * 4 * 7 / 16) and sum(halved[11:]) == pytest.approx(4 * 9 / 16)
    fixed = rates(items(4, 7), [Concept(), Concept(kind="regularization", images_per_epoch=2)])
    assert sum(fixed[4:]) == pytest.approx(2)


def test_surplus_regularization_images_take_turns():
    concepts = [Concept(), Concept(kind="regularization")]
    views = make_views([[FIT]] * 14, rates(items(4, 10), concepts))
    order = Order(views, 2, 1)
    assert order.images == pytest.approx(8)
    seen: Counter[int] = Counter()
    for position in range(0, 40, 2):  # five epochs of 8
        for place in order.at(position):
            seen[place.view] += 1
            assert place.epoch <= position // 8
    assert [seen[index] for index in range(4)] == [5] * 4 and [seen[index] for index in range(4, 14)] == [2] * 10
