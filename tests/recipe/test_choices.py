"""Every optimizer and every schedule for some steps of pivotal tuning on a tiny model, against a run with rate 0."""

from __future__ import annotations

import pytest

from fake_host import FakeHost, write_dataset
from pivotal.config.optimizers import EIGHT_BIT, FINDS_ITS_RATE, USUAL
from pivotal.config.sections.pace import ScheduleKind
from pivotal.events import StepDone
from runs import carry_out

STEPS = 12
OPTIMIZERS = [kind for kind in USUAL if kind not in (*EIGHT_BIT, "other")]
# Those that find their rate begin at a millionth of it, which is the run of a real model and not of twelve steps.
BEGIN = dict.fromkeys(FINDS_ITS_RATE, 3e-3) | {"dadapt sgd": 3e-2}
SCHEDULES = {kind: {} for kind in ScheduleKind.__args__} | {
    "rate list": {"schedule.rates": "0.02:6, 0.005"}, "points": {"schedule.points": "0:0.5, 50%:1, 100%:0"},
    "formula": {"schedule.formula": "0.5 * (1 + cos(pi * p))"}, "cosine wave": {"schedule.cycles": 2},
    "cosine with restarts": {"schedule.cycles": 2}, "polynomial": {"schedule.power": 2}}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("choices")
    return FakeHost(folder / "host"), write_dataset(folder / "images")


@pytest.fixture(scope="module")
def table():
    """Prints what was measured, for whoever runs this with -s."""
    rows: dict[str, tuple[float, float]] = {}
    yield rows
    for name, (before, after) in sorted(rows.items(), key=lambda row: row[1][1]):
        print(f"{name:24} error {before:.4f} -> {after:.4f}")


def error_of(place, rate, table, name, **changes):
    host, images = place
    outcome, events = carry_out(
        host, images, name="choices", network__method="lora", network__rank=4, optimizer__learning_rate=rate,
        targets__learning_rate=rate, length__steps=STEPS, measure__images=4, save__state_every_steps=0,
        save__existing="replace", **{key.replace(".", "__"): value for key, value in changes.items()})
    assert outcome is not None, events[-1]
    losses = [event.loss for event in events if isinstance(event, StepDone)]
    assert len(losses) == STEPS and max(losses) < 10  # a NaN is neither
    table[name] = (outcome.metrics["error_before"], outcome.metrics["error_after"])
    return table[name]


def test_a_rate_of_zero_changes_nothing(place, table):
    before, after = error_of(place, 0.0, table, "rate 0")
    assert before == after


@pytest.mark.slow
@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_every_optimizer_lowers_the_error(place, table, kind):
    rate = 1.0 if kind in (*FINDS_ITS_RATE, "schedule-free sgd") else 0.02
    more = {"optimizer.first_estimate": BEGIN[kind]} if kind in BEGIN else {}
    before, after = error_of(place, rate, table, kind, **{"optimizer.kind": kind}, **more)
    assert after < 0.99 * before


@pytest.mark.slow
@pytest.mark.parametrize("kind", SCHEDULES)
def test_every_schedule_lowers_the_error(place, table, kind):
    before, after = error_of(place, 0.02, table, f"adamw, {kind}", **{"schedule.kind": kind, "schedule.warmup": 0.2},
                             **SCHEDULES[kind])
    assert after < 0.9 * before
