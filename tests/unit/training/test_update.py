"""What an update refuses, and what it leaves to the scaler of fp16."""

from __future__ import annotations

import pytest
import torch

from pivotal.config.sections.guard import Guard as Rules
from pivotal.config.sections.training import Optimizer
from pivotal.errors import TrainingError
from pivotal.training.bad_step import BadStep
from pivotal.training.guard import LOOK_BACK, Guard
from pivotal.training.optimizers import make_steppers
from pivotal.training.precision import gradient_scaler
from pivotal.training.update import update
from plain_parts import clock, make_parts, values

CPU = torch.device("cpu")


def prepared(kind="adamw", gradient=1.0, of=1):
    """Parts with gradients of 1, but for that of part `of`."""
    parts = make_parts(0.01)
    for index, part in enumerate(parts):
        for parameter in part.parameters:
            parameter.grad = torch.full_like(parameter, gradient if index == of else 1.0)
    steppers = make_steppers(Optimizer(kind=kind), parts)
    for stepper in steppers:
        stepper.set_rates(clock(0))
    return parts, steppers


@pytest.mark.parametrize("gradient", [float("nan"), float("inf"), -float("inf"), 2e15])
def test_a_gradient_that_cannot_be_used_names_its_part_and_changes_nothing(gradient):
    parts, steppers = prepared(gradient=gradient)
    before = values(parts)
    with pytest.raises(BadStep, match=r"^the gradient of word became infinite or larger than 1e\+15$") as error:
        update(steppers, parts, gradient_scaler(CPU, torch.float32), 1.0)
    assert not error.value.poisoned
    assert all(torch.equal(left, right) for left, right in zip(before, values(parts), strict=True))


@pytest.mark.parametrize("kind", ["adamw", "adam", "sgd", "rmsprop", "adagrad", "lion", "prodigy", "lamb"])
def test_the_largest_gradient_that_is_let_through_spoils_nothing(kind):
    parts, steppers = prepared(kind, gradient=0.99e15)
    update(steppers, parts, gradient_scaler(CPU, torch.float32), None)
    held = [value for stepper in steppers for state in stepper.optimizer.state.values() for value in state.values()
            if isinstance(value, torch.Tensor)]
    assert all(value.isfinite().all() for value in [*values(parts), *held])


@pytest.mark.parametrize(("scale", "is_bad"), [(65536.0, False), (1.0, False), (0.5, True)])
def test_an_overflow_is_the_scalers_business_until_its_scale_is_not_the_cause(scale, is_bad):
    """As with fp16 on a graphics card: it leaves the step out and halves its scale."""
    parts, steppers = prepared(gradient=float("inf"))
    before, scaler = values(parts), torch.amp.GradScaler("cpu", init_scale=scale)
    scaler.scale(torch.ones(()))  # the scale is made at its first use
    if is_bad:
        for _ in range(2):  # the next step is refused in the same words: the scaler would not take a second one by itself
            with pytest.raises(BadStep):
                update(steppers, parts, scaler, None)
    else:
        update(steppers, parts, scaler, None)
        assert scaler.get_scale() == scale / 2
    assert all(torch.equal(left, right) for left, right in zip(before, values(parts), strict=True))


def test_steps_are_counted_in_a_row_and_in_all():
    guard, bad = Guard(Rules(in_a_row=3, in_all=5), keeps=True), BadStep("the loss became nan")
    for _ in range(2):
        guard.count(1, bad)
        guard.count(2, bad)
        guard.good()
    with pytest.raises(TrainingError, match=r"Step 9: the loss became nan\. It is bad step 5 of the run"):
        guard.count(9, bad)
    row = Guard(Rules(in_a_row=3, in_all=50), keeps=True)
    row.count(1, bad)
    row.count(2, BadStep("weights became infinite", poisoned=True))  # is taken back: what is before it comes once more
    row.count(3, bad)
    with pytest.raises(TrainingError, match="bad step 3 in a row"):
        row.count(4, bad)


def test_copies_are_due_now_and_then_and_only_where_a_step_may_be_taken_back():
    guard = Guard(Rules(), keeps=True)
    assert guard.wants_copy(7)
    value = torch.nn.Parameter(torch.ones(2))
    guard.keep_copy(7, {"a": 1}, {"trained.0.x": value})
    with torch.no_grad():
        value.fill_(9)
    assert guard.copy[1]["trained.0.x"].tolist() == [1, 1]  # it goes on learning, the copy does not
    assert not guard.wants_copy(7 + LOOK_BACK - 1) and guard.wants_copy(7 + LOOK_BACK)
    assert not Guard(Rules(), keeps=False).wants_copy(0) and not Guard(Rules(bad_step="stop"), keeps=True).wants_copy(0)
