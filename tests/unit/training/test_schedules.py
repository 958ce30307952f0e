"""The course of a learning rate, against the formulas of the papers and of torch."""

from __future__ import annotations

import pytest
import torch

from pivotal.config.courses import parse_points, parse_rate_list
from pivotal.config.formula import Formula
from pivotal.training.schedules import DECAYS, Schedule


def torch_course(make, steps):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler = make(optimizer)
    found = []
    for _ in range(steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return found


@pytest.mark.parametrize(("kind", "make"), [
    ("linear", lambda o: torch.optim.lr_scheduler.LinearLR(o, 1.0, 1e-12, total_iters=20)),
    ("cosine", lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, 20)),
    ("polynomial", lambda o: torch.optim.lr_scheduler.PolynomialLR(o, 20, power=3.0)),
    ("constant", lambda o: torch.optim.lr_scheduler.ConstantLR(o, 1.0))])
def test_courses_are_those_of_torch(kind, make):
    schedule = Schedule(kind, power=3.0)
    assert [schedule.factor(step, 20) for step in range(20)] == pytest.approx(torch_course(make, 20), abs=1e-6)


def test_restarts_are_a_saw_and_not_a_wave():
    schedule = Schedule("cosine with restarts", cycles=2)
    found = [schedule.factor(step, 20) for step in range(20)]
    assert found[:10] == pytest.approx(found[10:])
    assert found[0] == found[10] == 1.0 and found[9] < 0.03


def test_rex_bends_late():
    # (1 - p) / (0.1 + 0.9 (1 - p)) by hand: p = 0.5 gives 0.5 / 0.55, p = 0.9 gives 0.1 / 0.19.
    schedule = Schedule("rex")
    assert [schedule.factor(step, 10) for step in (0, 5, 9)] == pytest.approx([1.0, 0.5 / 0.55, 0.1 / 0.19])


def test_warm_up_rises_from_the_first_step_on_and_the_decay_begins_after_it():
    schedule = Schedule("linear", warmup=0.2)
    assert [schedule.factor(step, 20) for step in range(5)] == pytest.approx([0.25, 0.5, 0.75, 1.0, 1.0])
    assert schedule.factor(12, 20) == pytest.approx(0.5)
    assert Schedule("linear", warmup=4).factor(12, 20) == pytest.approx(0.5)


@pytest.mark.parametrize("kind", sorted(DECAYS))
def test_no_rate_falls_below_its_minimum_or_rises_above_one(kind):
    found = [Schedule(kind, warmup=3, minimum=0.2, cycles=3).factor(step, 30) for step in range(30)]
    assert min(found) >= 0.2 and max(found) <= 1.0 and len(found) == 30


def test_a_wave_rises_again_as_smoothly_as_it_fell():
    """OneTrainer's cosine with restarts, 0.5 (1 + cos(2 pi cycles p)); its hard one is our saw."""
    wave, saw = Schedule("cosine wave", cycles=2), Schedule("cosine with restarts", cycles=2)
    found = [wave.factor(step, 40) for step in range(40)]
    assert [found[step] for step in (0, 5, 10, 15, 20)] == pytest.approx([1, 0.5, 0, 0.5, 1])
    assert found[10:21] == pytest.approx(found[10::-1])
    assert saw.factor(19, 40) < 0.01 < found[19]


def test_the_inverse_square_root_is_that_of_transformers():
    from transformers import get_inverse_sqrt_schedule

    theirs = torch_course(lambda optimizer: get_inverse_sqrt_schedule(optimizer, 5), 60)
    ours = [Schedule("inverse square root", warmup=5).factor(step, 60) for step in range(60)]
    assert ours[5:] == pytest.approx(theirs[5:])
    assert theirs[0] == 0 and ours[0] == pytest.approx(0.2) and ours[4] == 1  # ours learns from the first step on
    alone = [Schedule("inverse square root").factor(step, 30_001) for step in (0, 10_000, 30_000)]
    assert alone == pytest.approx([1, 0.5 ** 0.5, 0.5])  # their timescale of 10,000 steps where there is no warm-up


def test_a_rate_list_takes_the_place_of_the_parts_own_rate():
    listed = Schedule("rate list", rates=parse_rate_list("0.005:100, 0.001:150"))
    assert [listed.rate(9.0, step, 500) for step in (0, 99, 100, 149, 150, 499)] == [0.005, 0.005, 0.001, 0.001, 0, 0]
    warm = Schedule("rate list", warmup=4, rates=parse_rate_list("0.4"))
    assert [warm.rate(9.0, step, 500) for step in range(5)] == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.4])


def test_points_and_formulas_are_factors_of_the_rate():
    points = Schedule("points", points=parse_points("0:0, 50%:2, 100%:1"))
    assert [points.rate(0.1, step, 20) for step in (0, 5, 10, 15)] == pytest.approx([0, 0.1, 0.2, 0.15])
    formula = Schedule("formula", minimum=0.5, formula=Formula("1 - p"))
    assert [formula.rate(2.0, step, 10) for step in (0, 5)] == pytest.approx([2.0, 1.5])
