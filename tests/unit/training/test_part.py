"""When and how fast a part of a run learns."""

from __future__ import annotations

import pytest
import torch

from pivotal.embeddings.trained import TrainedEmbedding
from pivotal.training.part import Clock, Part, StopRule
from pivotal.training.schedules import Schedule


def clock(steps=0, of=100, epochs=0.0, images=0, minutes=0.0):
    return Clock(steps, of, epochs, images, minutes)


def part(**settings):
    return Part(TrainedEmbedding("x", [torch.ones(1, 4)]), 2.0, **settings)


@pytest.mark.parametrize(("unit", "before", "at"), [
    ("steps", clock(steps=4), clock(steps=5)), ("epochs", clock(epochs=4.9), clock(epochs=5.0)),
    ("percent", clock(steps=9, of=200), clock(steps=10, of=200)), ("images", clock(images=4), clock(images=5)),
    ("minutes", clock(minutes=4.9), clock(minutes=5.0))])
def test_it_freezes_when_its_unit_is_reached_and_not_before(unit, before, at):
    stopped = part(stop=StopRule(5, unit))
    assert stopped.may_learn(before)
    assert not stopped.may_learn(at)
    assert stopped.over(at)


def test_never_never_stops_and_off_never_learns():
    assert part().may_learn(Clock(10**9, 10**9, 1e9, 10**9, 1e9))
    assert not part(learns=False).may_learn(clock())


def test_a_span_begins_and_ends_where_it_says_and_is_not_over_before_it_began():
    late, early = part(first=10), part(last=10)
    assert [late.may_learn(clock(steps)) for steps in (9, 10)] == [False, True]
    assert [early.may_learn(clock(steps)) for steps in (9, 10)] == [True, False]
    assert not late.over(clock(9)) and early.over(clock(10))


def test_the_schedule_runs_over_the_parts_own_span():
    linear = Schedule("linear")
    assert part(schedule=linear, first=50).rate_at(clock(75)) == pytest.approx(1.0)
    assert part(schedule=linear, last=50).rate_at(clock(25)) == pytest.approx(1.0)
    assert part(schedule=linear).rate_at(clock(25)) == pytest.approx(1.5)


def test_a_time_limit_counts_as_the_runs_length_where_it_comes_first():
    fast, slow = Clock(25, 100, 0, 0, 1.0, limit=10.0), Clock(25, 100, 0, 0, 5.0, limit=10.0)
    assert (fast.position, slow.position, slow.percent) == (25, 50, 50)  # steps come first, or the clock does
    linear = part(schedule=Schedule("linear"))
    assert linear.rate_at(fast) == pytest.approx(1.5) and linear.rate_at(slow) == pytest.approx(1.0)
    late = part(first=50)
    assert not late.may_learn(fast) and late.may_learn(slow)
    assert [Clock(25, 100, 0, 0, minutes, limit=10.0).ended for minutes in (9.9, 10.0)] == [False, True]
    assert Clock(100, 100, 0, 0, 1.0, limit=10.0).ended and Clock(3, 100, 0, 0, 99.0, limit=10.0).position == 100
