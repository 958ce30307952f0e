"""Weights in bf16: rounded by chance, so that what is too small for one step is there after many."""

from __future__ import annotations

import math

import pytest
import torch

from pivotal.config.sections.training import Optimizer
from pivotal.training.optimizers import make_steppers
from pivotal.training.rounding import rounded, widened
from plain_parts import clock, make_parts


def draws(seed=0):
    return torch.Generator().manual_seed(seed)


def test_what_bf16_can_hold_stays_and_the_rest_becomes_one_of_its_neighbours():
    values = torch.randn(10_000, generator=draws(1)) * torch.logspace(-30, 30, 10_000)
    exact = values.to(torch.bfloat16).float()
    assert torch.equal(rounded(exact, draws()).float(), exact)
    found = rounded(values, draws()).float()
    spacing = 2.0 ** (torch.frexp(values).exponent - 8)  # 8 bits of mantissa, the first of which is not written
    assert ((found - values).abs() < spacing).all() and not torch.equal(found, exact)


@pytest.mark.parametrize("value", [1.001, -1.001, 1e-20 * 1.003, 255.7, 1.9999])
def test_the_mean_is_the_value(value):
    """Within five standard errors of the mean of 20000 draws, whose variance is p (1 - p) spacings squared."""
    count = 20_000
    mean = rounded(torch.full((count,), value), draws()).double().mean().item()
    spacing = 2.0 ** (math.frexp(value)[1] - 8)
    assert abs(mean - torch.tensor(value).double().item()) < 5 * spacing / 2 / count**0.5


def test_what_is_not_finite_stays_so():
    found = rounded(torch.tensor([math.inf, -math.inf, math.nan, 0.0, -0.0]), draws())
    assert found[0] == math.inf and found[1] == -math.inf and not found[2].isfinite() and (found[3:] == 0).all()


def test_many_tiny_updates_add_up_where_rounding_to_the_nearest_stalls():
    """1000 steps of 1e-4 from 1: half of a spacing is 2^-8 = 0.0039, so that plain bf16 never moves."""
    parts = make_parts(1e-4)
    values = [value for part in parts for value in part.parameters]
    for value in values:
        value.data = torch.ones_like(value, dtype=torch.bfloat16)
    (stepper,) = make_steppers(Optimizer(kind="sgd", beta_1=0, nesterov=False, learning_rate=1e-4), parts)
    stepper.set_rates(clock(0))
    plain = torch.ones((), dtype=torch.bfloat16)
    for at in range(1000):
        for value in values:
            value.grad = torch.ones_like(value)
        with widened(parts, draws(at)):
            assert all(value.dtype == value.grad.dtype == torch.float32 for value in values)
            stepper.optimizer.step()
        plain -= 1e-4
    moved = 1 - torch.cat([value.detach().double().flatten() for value in values])
    # Each step moves a value by 2^-8 or 2^-9 with a chance of its size; 45 values have a mean with a deviation of .003.
    assert plain == 1 and abs(moved.mean().item() - 0.1) < 0.012
    assert all(value.dtype == value.grad.dtype == torch.bfloat16 for value in values)


def test_values_in_fp32_are_not_touched_and_the_same_draws_give_the_same():
    made = []
    for _ in range(2):
        parts = make_parts(0.01)
        first, *rest = (value for part in parts for value in part.parameters)
        first.data = torch.full_like(first, 1.0, dtype=torch.bfloat16)
        kept = [value.data_ptr() for value in rest]
        with pytest.raises(KeyError), widened(parts, draws(3)):
            first.data += 1e-3
            raise KeyError
        assert [value.data_ptr() for value in rest] == kept and first.dtype == torch.bfloat16
        made.append(first.detach().clone())
    assert torch.equal(*made) and made[0].unique().numel() == 2
