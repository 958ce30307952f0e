"""Every optimizer: it learns, it rests, and it goes on from a state as if it had never stopped."""

from __future__ import annotations

import json
import sys
import types

import pytest
import torch

from pivotal.config.optimizers import EIGHT_BIT, FINDS_ITS_RATE, SCHEDULE_FREE, USUAL
from pivotal.config.sections.training import Optimizer
from pivotal.errors import OptionError
from pivotal.training.optimizer_check import optimizer_problems
from pivotal.training.optimizer_state import pack_optimizer, unpack_optimizer
from pivotal.training.optimizers import make_steppers
from plain_parts import clock, make_parts, step, toy_loss, values

KINDS = [kind for kind in USUAL if kind not in (*EIGHT_BIT, "other")]
RATES = dict.fromkeys(FINDS_ITS_RATE, 1.0) | {
    "dadapt sgd": 0.3, "sgd": 0.05, "schedule-free sgd": 0.5, "lion": 3e-3, "tiger": 3e-3}
SETTINGS = {"prodigy": {"first_estimate": 1e-4}, "dadapt adam": {"first_estimate": 1e-4}} | {
    kind: {"first_estimate": 1e-3} for kind in ("dadapt sgd", "dadapt lion", "dadapt adagrad")}


def rate_for(kind):
    return RATES.get(kind, 2e-2)


def settings_for(kind, **more):
    return Optimizer(kind=kind, learning_rate=rate_for(kind), **{**SETTINGS.get(kind, {}), **more})


def test_every_optimizer_of_the_list_is_tried():
    assert len(KINDS) == 20 and set(KINDS) | set(EIGHT_BIT) | {"other"} == set(USUAL)


@pytest.mark.parametrize("kind", KINDS)
def test_it_learns_and_with_a_rate_of_zero_it_does_not(kind):
    parts = make_parts(rate_for(kind))
    steppers = make_steppers(settings_for(kind), parts)
    before = toy_loss(parts).item()
    for at in range(60):
        step(steppers, parts, at)
    assert toy_loss(parts).item() < 0.8 * before
    still = make_parts(0.0)
    begin, steppers = values(still), make_steppers(settings_for(kind), still)
    for at in range(3):
        step(steppers, still, at)
    assert all(torch.equal(left, right) for left, right in zip(begin, values(still), strict=True))


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_taken_up_from_a_state_goes_on_to_the_same_bytes(kind):
    parts = make_parts(rate_for(kind))
    steppers = make_steppers(settings_for(kind, weight_decay=0.02), parts)
    for at in range(5):
        step(steppers, parts, at)
    packed = [pack_optimizer(stepper.optimizer, f"o{index}.") for index, stepper in enumerate(steppers)]
    facts = json.loads(json.dumps([facts for facts, _ in packed]))  # as a file gives them back
    tensors = {key: value for _, tensors in packed for key, value in tensors.items()}
    other = make_parts(rate_for(kind))
    for mine, theirs in zip(values(parts), [p for part in other for p in part.trainable.parameters()], strict=True):
        theirs.data.copy_(mine)
    resumed = make_steppers(settings_for(kind, weight_decay=0.02), other)
    for index, stepper in enumerate(resumed):
        unpack_optimizer(stepper.optimizer, facts[index], tensors, f"o{index}.")
    for at in range(5, 9):
        step(steppers, parts, at)
        step(resumed, other, at)
    assert all(torch.equal(left, right) for left, right in zip(values(parts), values(other), strict=True))
    assert [stepper.rate_of(part) for stepper in steppers for part in stepper.parts] == \
        [stepper.rate_of(part) for stepper in resumed for part in stepper.parts]


@pytest.mark.parametrize("kind", KINDS)
def test_a_part_that_rests_does_not_move_and_its_clock_rests_with_it(kind):
    parts, alone = make_parts(rate_for(kind)), make_parts(rate_for(kind))
    steppers, others = (make_steppers(settings_for(kind), these) for these in (parts, alone))
    begin = values(parts)
    for at in range(4):
        step(steppers, parts, at, resting=(parts[1],))
    assert all(torch.equal(left, right) for left, right in zip(begin[2:], values(parts)[2:], strict=True))
    assert not torch.equal(begin[1], values(parts)[1]) or not torch.equal(begin[0], values(parts)[0])
    for at in range(3):
        step(steppers, parts, at)
        step(others, alone, at)
    # The word's gradient does not depend on the network's: it learns now as if the run had just begun.
    assert all(torch.equal(left, right) for left, right in zip(values(alone)[2:], values(parts)[2:], strict=True))


def plain_adamw(value, gradient, memory, n, rate, decay):
    first, second = memory
    first[:] = [0.9 * m + 0.1 * g for m, g in zip(first, gradient, strict=True)]
    second[:] = [0.999 * v + 0.001 * g * g for v, g in zip(second, gradient, strict=True)]
    return [x - rate * decay * x - rate * (m / (1 - 0.9 ** n)) / ((v / (1 - 0.999 ** n)) ** 0.5 + 1e-8)
            for x, m, v in zip(value, first, second, strict=True)]


def plain_lion(value, gradient, memory, n, rate, decay):
    (first, _) = memory
    sign = [(0.9 * m + 0.1 * g > 0) - (0.9 * m + 0.1 * g < 0) for m, g in zip(first, gradient, strict=True)]
    first[:] = [0.99 * m + 0.01 * g for m, g in zip(first, gradient, strict=True)]
    return [x - rate * decay * x - rate * s for x, s in zip(value, sign, strict=True)]


def plain_sgd(value, gradient, memory, n, rate, decay):
    (first, _) = memory
    gradient = [g + decay * x for g, x in zip(gradient, value, strict=True)]
    first[:] = [0.9 * m + g for m, g in zip(first, gradient, strict=True)]
    return [x - rate * (g + 0.9 * m) for x, g, m in zip(value, gradient, first, strict=True)]


def plain_tiger(value, gradient, memory, n, rate, decay):
    (first, _) = memory
    first[:] = [0.965 * m + 0.035 * g for m, g in zip(first, gradient, strict=True)]
    return [x - rate * decay * x - rate * ((m > 0) - (m < 0)) for x, m in zip(value, first, strict=True)]


def plain_rmsprop(value, gradient, memory, n, rate, decay):
    (_, second) = memory
    gradient = [g + decay * x for g, x in zip(gradient, value, strict=True)]
    second[:] = [0.99 * v + 0.01 * g * g for v, g in zip(second, gradient, strict=True)]
    return [x - rate * g / (v ** 0.5 + 1e-8) for x, g, v in zip(value, gradient, second, strict=True)]


def plain_adafactor(value, gradient, memory, n, rate, decay):
    """Of a vector, which has no factors (Shazeer and Stern 2018, algorithm 4); clipping at 1."""
    (_, second) = memory
    keep = 1 - n ** -0.8
    second[:] = [keep * v + (1 - keep) * (g * g + 1e-30) for v, g in zip(second, gradient, strict=True)]
    update = [g / v ** 0.5 for g, v in zip(gradient, second, strict=True)]
    size = (sum(u * u for u in update) / len(update)) ** 0.5
    return [x - rate * decay * x - rate * u / max(1.0, size) for x, u in zip(value, update, strict=True)]


@pytest.mark.parametrize(("kind", "plain"), [
    ("adamw", plain_adamw), ("lion", plain_lion), ("sgd", plain_sgd), ("tiger", plain_tiger), ("rmsprop", plain_rmsprop),
    ("adafactor", plain_adafactor)])
def test_an_update_is_the_papers(kind, plain):
    parameter = torch.nn.Parameter(torch.tensor([0.5, -1.0, 2.0], dtype=torch.float64))
    part = make_parts(0.01)[0]
    part.trainable.values = torch.nn.ParameterList([parameter])
    (stepper,) = make_steppers(Optimizer(kind=kind, learning_rate=0.01, weight_decay=0.1), [part])
    value, memory = parameter.tolist(), ([0.0] * 3, [0.0] * 3)
    for n in range(1, 6):
        gradient = [x ** 3 + 0.1 * n for x in value]
        parameter.grad = torch.tensor(gradient, dtype=torch.float64)
        stepper.set_rates(clock(n))
        stepper.optimizer.step()
        value = plain(value, gradient, memory, n, 0.01, 0.1)
        assert parameter.tolist() == pytest.approx(value, rel=1e-5)


def test_prodigy_finds_the_rate_of_its_paper():
    """Mishchenko and Defazio 2023, algorithm 4, with one number and no corrections."""
    part = make_parts(1.0)[0]
    parameter = torch.nn.Parameter(torch.tensor([1.0], dtype=torch.float64))
    part.trainable.values = torch.nn.ParameterList([parameter])
    (stepper,) = make_steppers(Optimizer(kind="prodigy", learning_rate=1.0, first_estimate=1e-3, estimate_factor=2.0,
                                         growth_limit=1.5), [part])
    x = x0 = 1.0
    d = d0 = d_max = 1e-3
    first = second = numerator = slope = 0.0
    for _ in range(12):
        gradient = 2 * (x - 3)
        numerator = 0.999 ** 0.5 * numerator + d / d0 * d * gradient * (x0 - x)
        first, second = 0.9 * first + 0.1 * d * gradient, 0.999 * second + 0.001 * (d * gradient) ** 2
        slope = 0.999 ** 0.5 * slope + d / d0 * d * gradient
        guess = 2.0 * numerator / abs(slope)
        d_now = max(d, guess) if d == d0 else d
        d_max = max(d_max, guess)
        step_d, d = d, min(d_max, d_now * 1.5)
        x -= step_d * first / (second ** 0.5 + step_d * 1e-8)
        parameter.grad = torch.tensor([gradient], dtype=torch.float64)
        stepper.set_rates(clock(0))
        stepper.optimizer.step()
        assert stepper.rate_of(part) == pytest.approx(d, rel=1e-3)
    assert d > 1.5 * d0


def test_the_relative_step_is_shown_as_the_rate_and_needs_none():
    parts = make_parts(0.0)
    steppers = make_steppers(Optimizer(kind="adafactor", relative_step=True), parts)
    begin = values(parts)
    for at in range(4):
        step(steppers, parts, at)
    assert not torch.equal(begin[1], values(parts)[1])
    assert steppers[0].rate_of(parts[0]) == 0.01  # until 1 / sqrt(steps) is less
    slow = make_steppers(Optimizer(kind="adafactor", relative_step=True, warmup_init=True), make_parts(0.0))
    assert slow[0].rate_of(slow[0].parts[0]) == 0.0
    for at in range(4):
        step(slow, [stepper.parts[0] for stepper in slow], at)
    assert slow[0].rate_of(slow[0].parts[0]) == pytest.approx(4e-6)


@pytest.mark.parametrize("kind", SCHEDULE_FREE)
def test_what_is_kept_of_a_schedule_free_run_is_the_mean_of_its_steps(kind):
    """Defazio et al. 2024, equations 3 to 5: with constant rates x is the plain mean of the z of all steps."""
    parts = make_parts(rate_for(kind))
    steppers = make_steppers(settings_for(kind), parts)
    heavy: list[list[torch.Tensor]] = []
    for at in range(8):
        step(steppers, parts, at)
        heavy.append([stepper.optimizer.state[parameter]["z"].clone() for stepper in steppers
                      for part in stepper.parts for parameter in part.trainable.parameters()])
    path = values(parts)
    for stepper in steppers:
        with stepper.averaged():
            for index, parameter in enumerate(p for part in stepper.parts for p in part.trainable.parameters()):
                place = index + 2 * steppers.index(stepper)
                mean = torch.stack([z[place] for z in heavy]).mean(dim=0)
                torch.testing.assert_close(parameter.detach(), mean, rtol=1e-4, atol=1e-5)
    assert all(torch.equal(left, right) for left, right in zip(path, values(parts), strict=True))
    assert all(group["train_mode"] for stepper in steppers for group in stepper.optimizer.param_groups)


def test_weight_decay_pulls_only_at_the_parts_that_decay():
    for kind in ("adamw", "adam", "sgd", "lion", "adafactor", "came"):
        parts = make_parts(0.01)
        steppers = make_steppers(Optimizer(kind=kind, weight_decay=0.3), parts)
        found = {group["part"] if len(steppers) == 1 else index: group["weight_decay"]
                 for index, stepper in enumerate(steppers) for group in stepper.optimizer.param_groups}
        assert found == {0: 0.3, 1: 0.0}


def test_what_is_not_set_is_the_optimizers_own():
    own = {kind: make_steppers(Optimizer(kind=kind), make_parts(0.01))[0].optimizer.param_groups[0] for kind in KINDS}
    assert own["adamw"]["betas"] == (0.9, 0.999) and own["adamw"]["weight_decay"] == 0.01
    assert own["lion"]["betas"] == (0.9, 0.99) and own["lion"]["weight_decay"] == 0
    assert own["adan"]["betas"] == (0.98, 0.92, 0.99) and own["adafactor"]["beta1"] is None
    assert not own["adafactor"]["relative_step"] and not own["adafactor"]["scale_parameter"]
    assert own["prodigy"]["beta3"] == pytest.approx(0.999 ** 0.5)
    changed = make_steppers(Optimizer(kind="prodigy", beta_2=0.81), make_parts(1.0))[0].optimizer.param_groups[0]
    assert changed["beta3"] == pytest.approx(0.9) and changed["betas"] == (0.9, 0.81)


def test_an_optimizer_by_name_takes_arguments_by_name():
    settings = Optimizer(kind="other", name="RAdam", arguments=("betas = (0.8, 0.9)", "eps=1e-6"))
    (stepper, other) = make_steppers(settings, make_parts(0.01))
    assert type(stepper.optimizer) is torch.optim.RAdam and len(other.parts) == 1
    assert stepper.optimizer.param_groups[0]["betas"] == (0.8, 0.9) and stepper.optimizer.param_groups[0]["eps"] == 1e-6
    assert optimizer_problems(settings) == {}
    (named, _) = make_steppers(Optimizer(kind="other", name="pytorch_optimizer.AdamP"), make_parts(0.01))
    assert type(named.optimizer).__module__.startswith("pytorch_optimizer")


@pytest.mark.parametrize(("settings", "key", "word"), [
    (Optimizer(kind="other", name="Radam"), "optimizer.name", "RAdam"),
    (Optimizer(kind="other", name="torch.optim.Prodigy"), "optimizer.name", "torch.optim"),
    (Optimizer(kind="other", name="LBFGS"), "optimizer.name", "cannot be used"),  # needs a closure
    (Optimizer(kind="other", name="Lookahead"), "optimizer.name", "cannot be used"),  # wraps another
    (Optimizer(kind="adamw", arguments=("amsgradd = True",)), "optimizer.arguments", "amsgrad?"),
    (Optimizer(kind="lion", arguments=("weight_decouple = 7", "r = 1")), "optimizer.arguments", "weight_decouple"),
    (Optimizer(kind="adam", arguments=("eps = -1",)), "optimizer.arguments", "-1")])
def test_what_an_optimizer_cannot_take_is_said_before_the_run(settings, key, word):
    problems = optimizer_problems(settings)
    assert list(problems) == [key] and word in problems[key]


def test_a_missing_package_is_said_in_words(monkeypatch):
    monkeypatch.setitem(sys.modules, "bitsandbytes.optim", None)
    with pytest.raises(OptionError) as error:
        make_steppers(Optimizer(kind="adamw 8-bit"), make_parts(0.01))
    assert "pip install bitsandbytes" in error.value.problems["optimizer.kind"]


@pytest.mark.parametrize(("kind", "name"), [("adamw 8-bit", "AdamW8bit"), ("paged adamw 8-bit", "PagedAdamW8bit"),
                                            ("lion 8-bit", "Lion8bit"), ("paged lion 8-bit", "PagedLion8bit")])
def test_8_bit_optimizers_are_those_of_bitsandbytes(monkeypatch, kind, name):
    made = []

    class Eight(torch.optim.SGD):
        def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0):
            made.append((lr, betas, weight_decay))
            super().__init__(params, lr, weight_decay=weight_decay)

    package = types.ModuleType("bitsandbytes")
    package.optim = types.ModuleType("bitsandbytes.optim")
    setattr(package.optim, name, Eight)
    monkeypatch.setitem(sys.modules, "bitsandbytes", package)
    monkeypatch.setitem(sys.modules, "bitsandbytes.optim", package.optim)
    steppers = make_steppers(Optimizer(kind=kind, learning_rate=0.03), make_parts(0.01))
    assert [type(stepper.optimizer) for stepper in steppers] == [Eight, Eight]
    own = USUAL[kind]
    assert made == [(0.03, (own.beta_1, own.beta_2), own.weight_decay)] * 2
    monkeypatch.delattr(package.optim, name)
    assert "too old" in optimizer_problems(Optimizer(kind=kind))["optimizer.kind"]


def test_a_state_may_hold_tensors_in_dicts_and_lists():
    (stepper, _), (other, _) = (make_steppers(Optimizer(kind="lion"), make_parts(0.01)) for _ in range(2))
    first = stepper.optimizer.param_groups[0]["params"][0]
    kept = {"exp_avg": torch.zeros(4, 3), "more": {"code": torch.arange(3, dtype=torch.uint8), "pair": (1, [torch.ones(2)])}}
    stepper.optimizer.state[first] = kept
    facts, tensors = pack_optimizer(stepper.optimizer, "x.")
    unpack_optimizer(other.optimizer, json.loads(json.dumps(facts)), tensors, "x.")
    found = other.optimizer.state[other.optimizer.param_groups[0]["params"][0]]["more"]
    assert found["code"].dtype == torch.uint8 and found["code"].tolist() == [0, 1, 2]
    assert found["pair"][0] == 1 and torch.equal(found["pair"][1][0], torch.ones(2))


def test_a_state_that_no_file_can_hold_is_refused():
    (stepper, _) = make_steppers(Optimizer(kind="lion"), make_parts(0.01))
    stepper.optimizer.param_groups[0]["history"] = {1, 2}
    with pytest.raises(Exception, match="'history' as set"):
        pack_optimizer(stepper.optimizer, "")
