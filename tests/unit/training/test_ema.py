"""Averages over the steps, against sums worked out plainly."""

from __future__ import annotations

import pytest
import torch

from pivotal.embeddings.trained import TrainedEmbedding
from pivotal.training.ema import Averages, decay_of
from pivotal.training.part import Part


def part(value, **settings):
    return Part(TrainedEmbedding(f"x{value}", [torch.full((1, 2), float(value))], **settings), 1.0)


def set_to(one, value):
    with torch.no_grad():
        one.trainable.values[0].fill_(value)


def test_an_average_follows_with_the_warm_up_and_then_with_its_decay():
    one = part(0)
    averages, expected = Averages([one], 0.5), 0.0
    for count, value in enumerate((1.0, 3.0, -2.0, 5.0, 5.0, 5.0, 5.0, 5.0, 5.0, 1.0), start=1):
        set_to(one, value)
        averages.update([one])
        decay = min(0.5, (1 + count) / (10 + count))  # 2/11, 3/12, 4/13, ... 0.5 from the eighth on
        expected = decay * expected + (1 - decay) * value
    with averages.in_place():
        assert one.trainable.values[0].flatten().tolist() == pytest.approx([expected] * 2)
    assert one.trainable.values[0].flatten().tolist() == [1.0, 1.0]


def test_what_rests_keeps_its_average_and_an_exception_brings_the_values_back():
    resting, learning = part(7), part(0)
    averages = Averages([resting, learning], 0.9)
    set_to(learning, 4)
    averages.update([learning])
    with pytest.raises(KeyError), averages.in_place():
        assert resting.trainable.values[0][0, 0] == 7 and 0 < learning.trainable.values[0][0, 0] < 4
        raise KeyError
    assert learning.trainable.values[0][0, 0] == 4


def test_an_average_has_the_length_that_is_preserved():
    one = Part(TrainedEmbedding("x", [torch.tensor([[1.0, 0.0]])], norms=[1.0]), 1.0)
    averages = Averages([one], 0.5)
    with torch.no_grad():
        one.trainable.values[0].copy_(torch.tensor([[0.0, 1.0]]))
    averages.update([one])
    with averages.in_place():
        assert one.trainable.values[0].norm().item() == pytest.approx(1.0)


@pytest.mark.parametrize("images_per_step", [1, 4, 60])
def test_a_half_life_in_images_is_the_same_for_every_batch(images_per_step):
    decay = decay_of(None, 240.0, images_per_step)
    kept = 1.0
    for _ in range(240 // images_per_step):
        kept *= decay
    assert kept == pytest.approx(0.5)
    assert decay_of(0.9, None, images_per_step) == 0.9 and decay_of(None, None, images_per_step) is None
