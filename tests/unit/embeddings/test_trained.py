"""An embedding as the loop sees it."""

from __future__ import annotations

import pytest
import torch

from pivotal.embeddings.trained import StopRule, TrainedEmbedding


@pytest.mark.parametrize(("unit", "at"), [("steps", dict(steps=5)), ("epochs", dict(epochs=5.0)),
                                          ("images", dict(images=5)), ("minutes", dict(minutes=5.0))])
def test_it_freezes_when_its_unit_is_reached_and_not_before(unit, at):
    embedding = TrainedEmbedding("x", [torch.ones(1, 4)], rate=1.0, stop=StopRule(5, unit))
    clock = dict(steps=0, epochs=0.0, images=0, minutes=0.0)
    assert embedding.may_learn(**clock | {key: value - 0.5 for key, value in at.items()})
    assert not embedding.may_learn(**clock | at)


def test_never_never_stops_and_off_never_learns():
    clock = dict(steps=10**9, epochs=1e9, images=10**9, minutes=1e9)
    assert TrainedEmbedding("x", [torch.ones(1, 4)], rate=1.0).may_learn(**clock)
    assert not TrainedEmbedding("x", [torch.ones(1, 4)], rate=1.0, train=False).may_learn(0, 0, 0, 0)


def test_norm_preservation_rescales_each_vector_per_encoder():
    embedding = TrainedEmbedding("x", [torch.tensor([[3.0, 4.0], [0.0, 2.0]]), torch.full((2, 3), 7.0)], rate=1.0,
                                 norms=[0.5, 2.0])
    embedding.after_step()
    torch.testing.assert_close(embedding.values[0].data, torch.tensor([[0.3, 0.4], [0.0, 0.5]]))
    torch.testing.assert_close(embedding.values[1].data, torch.full((2, 3), 2.0 / 3**0.5))


def test_masters_are_fp32_copies_of_what_they_start_from():
    start = torch.ones(2, 4, dtype=torch.float16)
    embedding = TrainedEmbedding("x", [start], rate=1.0)
    with torch.no_grad():
        embedding.values[0].add_(1e-6)
    assert embedding.values[0].dtype == torch.float32 and start.eq(1).all() and embedding.values[0].ne(1).all()
