"""The best measured step is kept, and losses are gathered image by image."""

from __future__ import annotations

import pytest
import torch

from pivotal.embeddings.trained import TrainedEmbedding
from pivotal.training.best import Best
from pivotal.training.part import Part
from pivotal.training.record import Record


def parts():
    return [Part(TrainedEmbedding("x", [torch.zeros(1, 2)]), 1.0)]


def put(trained, value):
    with torch.no_grad():
        trained[0].trainable.values[0].fill_(value)


def test_the_lowest_error_is_kept_with_its_values():
    trained = parts()
    best = Best(trained, keeps=True)
    assert not best.take(0, float("nan"), loss=9.0)  # a first one that is no number is no best that none ever beats
    for step, error in enumerate((0.5, 0.3, 0.4, 0.3, float("nan")), start=1):
        put(trained, step)
        assert best.take(step, error, loss=10.0 - step) == (step <= 2)  # no better, equal, and not a number
    assert (best.step, best.error, best.loss, best.since) == (2, 0.3, 8.0, 3)
    with pytest.raises(KeyError), best.in_place():
        assert trained[0].trainable.values[0].tolist() == [[2, 2]]
        raise KeyError
    assert trained[0].trainable.values[0].tolist() == [[5, 5]]
    again = Best(trained, keeps=True)
    again.restore(*best.state())
    assert again.state()[0] == best.state()[0]
    with again.in_place():
        assert trained[0].trainable.values[0].tolist() == [[2, 2]]


def test_values_are_kept_only_when_they_may_be_asked_for():
    best = Best(parts(), keeps=False)
    best.take(1, 0.5, 1.0)
    assert not best.kept and best.state()[1] == {}


def test_losses_are_means_by_image_and_by_timestep():
    record = Record()
    for _ in range(2):
        record.add([0, 2], [1.0, 3.0], [50, 60])
        record.add([2, 2], [0.2, 0.4], [950, 999])
    record.add([], [0.9], [910])  # nobody knows which image
    found = {index: (times, loss) for index, times, loss, _ in record.by_image()}
    assert found == {0: (2, pytest.approx(1.0)), 2: (6, pytest.approx((3 + 0.2 + 0.4) / 3))}
    assert record.by_band() == [(0, pytest.approx(2.0)), (900, pytest.approx((2 * 0.6 + 0.9) / 5))]
    again = Record()
    again.restore(record.state())
    assert again.by_image() == record.by_image() and again.by_band() == record.by_band()


def test_a_hard_image_is_told_from_one_that_had_hard_timesteps():
    record = Record()
    for _ in range(50):
        record.add([0, 1], [1.0, 1.0], [50, 50])  # all are hard here
        record.add([2, 3], [0.1, 0.3], [950, 950])
    relative = {index: value for index, _, _, value in record.by_image()}
    assert relative[0] == pytest.approx(1.0) and relative[2] == pytest.approx(0.5, rel=0.05)
    assert max(relative, key=relative.get) == 3 and relative[3] == pytest.approx(1.5, rel=0.05)
