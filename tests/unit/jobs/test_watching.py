"""Notices that a run's own numbers give reason for: each said once, under the key of the option that mends it."""

from __future__ import annotations

from pivotal.config.sections.embedding import Embedding
from pivotal.events import Noticed, Planned, StepDone, VectorsTold, VectorTold
from pivotal.jobs.watch.watching import Watching

ROWS = (Embedding(placeholder="one"), Embedding(placeholder="two"))


def told(*events):
    heard = []
    watching = Watching(heard.append, ROWS)
    for event in events:
        watching(event)
    assert [event for event in heard if not isinstance(event, Noticed)] == list(events)
    return [(event.key, event.text) for event in heard if isinstance(event, Noticed)]


def step(number, **rates):
    return StepDone(number, 1000, 0.1, 0.1, rates, 0.1, number)


def vectors(number, placeholder, relative=1.0, moved=True):
    return VectorsTold(number, (VectorTold(placeholder, "clip_l", 1, 0.4, 1.0, 0.0, (), moved),
                                VectorTold(placeholder, "clip_l", 2, 0.4, relative, 0.0, (), moved)), {})


def test_a_healthy_run_is_told_nothing():
    assert told(*[step(number, one=0.01) for number in range(1, 100)], vectors(99, "one", 2.9)) == []


def test_twenty_steps_without_any_rate_are_told_once():
    assert told(*[step(number, one=0.0, two=0.0) for number in range(1, 20)], step(20, one=0.1)) == []
    assert [key for key, _ in told(*[step(number, one=0.0) for number in range(1, 60)])] == ["optimizer.learning_rate"]


def test_a_vector_of_more_than_three_times_a_tokens_length_is_told_once_for_its_embedding():
    notices = told(vectors(10, "two", 3.2), vectors(20, "two", 5.0), vectors(20, "one", 3.0), vectors(30, "one", 3.1))
    assert [key for key, _ in notices] == ["embeddings.1.preserve_norm", "embeddings.0.preserve_norm"]
    assert "'two' has grown to 3.2 times" in notices[0][1]


def test_an_embedding_that_learns_and_has_not_moved_is_told_after_an_epoch():
    plan = Planned(100, (), (), 200.0, 100.0, 2, 2, 1000, 10.0, 2000)  # 50 steps an epoch
    assert told(plan, step(49, one=0.1), vectors(49, "one", moved=False)) == []
    assert [key for key, _ in told(plan, step(50, one=0.1), vectors(50, "one", moved=False), vectors(60, "one", moved=False))
            ] == ["embeddings.0.placeholder"]
    assert told(plan, step(50, one=0.0, two=0.1), vectors(50, "one", moved=False)) == []  # it does not learn
    assert told(plan, step(50, one=0.1), vectors(50, "one")) == []
