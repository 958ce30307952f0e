"""A run as one sees it, folded from its events."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pivotal.events import (
    Failed,
    Finished,
    ImageLoss,
    LossesTold,
    Measured,
    Noticed,
    Phase,
    Sampled,
    Saved,
    Started,
    StepDone,
    as_json,
)
from pivotal.jobs.view import CURVE, LOG, JobView, fold


def steps(first, last, of=1000, seconds=0.5):
    return [StepDone(step, of, step / 10, step / 20, {"zk": 0.01}, seconds, step * 4) for step in range(first, last + 1)]


def folded(events):
    view = JobView(state="running")
    for event in events:
        view = fold(view, event)
    return view


def test_a_run_in_the_middle_shows_where_it_is_and_how_long_it_will_take():
    view = folded([Started(1000, 12, 4, "toy"), Phase("training"), *steps(1, 100)])
    assert (view.step, view.of, view.loss, view.phase) == (100, 1000, 10.0, "training")
    assert view.steps_per_second == pytest.approx(2.0) and view.seconds_left == pytest.approx(450)
    assert view.curve[-1] == (100, 10.0, 5.0) and view.version == 102


def test_a_long_curve_is_thinned_evenly_and_never_grows():
    view = folded(steps(1, 5000, 5000))
    assert CURVE / 2 - 1 <= len(view.curve) <= CURVE
    gaps = {right[0] - left[0] for left, right in zip(view.curve, view.curve[1:], strict=False)}
    assert gaps == {view.stride} and view.curve[-1][0] > 5000 - 2 * view.stride


def test_samples_files_and_the_log_are_kept_and_the_log_is_short():
    view = folded([Sampled(10, "a zk", Path("a.png")), Saved(10, Path("s"), "state", False),
                   Saved(20, Path("e"), "embedding", True), Saved(20, Path("e"), "embedding", True),
                   *[Noticed(f"line {number}") for number in range(100)]])
    assert view.samples == ((10, "a zk", Path("a.png")),) and view.files == (Path("e"),)
    assert len(view.log) == LOG and view.log[-1] == "line 99"


def test_measurements_and_the_hardest_images_are_kept():
    worst = (ImageLoss(Path("a.png"), 4, 0.3, 1.7),)
    view = folded([*(Measured(step, error, {}, {}, True, best) for step, error, best in (
        (0, 0.5, False), (10, 0.4, True), (20, 0.45, False))), LossesTold(worst, {"0": 0.2}, None)])
    assert view.measured == ((0, 0.5), (10, 0.4), (20, 0.45)) and view.best_step == 10 and view.held_out
    assert view.hardest == worst
    assert view.log == ("Step 0: error on held-out images 0.5.", "Step 10: error on held-out images 0.4, the best so far.",
                        "Step 20: error on held-out images 0.45.")
    assert folded([Sampled(1, "a", Path("p"), 3, True)]).samples == ((1, "a (raw)", Path("p")),)


@pytest.mark.parametrize(("event", "state"), [
    (Finished(20, 1.0, 0.1, (Path("e"),), False), "finished"), (Finished(3, 1.0, 0.1, (), True), "stopped"),
    (Failed("no", {"seed": "bad"}), "failed")])
def test_the_last_event_decides_the_state(event, state):
    view = folded([*steps(1, 2), event])
    assert view.state == state and view.phase == ""
    assert dict(view.problems) == ({"seed": "bad"} if state == "failed" else {})


def test_every_event_is_json():
    for event in (Phase("training"), Started(1, 2, 3, "x"), *steps(1, 1), Sampled(1, "p", Path("a")),
                  Measured(1, 0.1, {"100": 0.1}, {"cats": 0.2}, True, False),
                  LossesTold((ImageLoss(Path("a"), 1, 0.1, 1.0),), {"0": 0.2}, Path("b")),
                  Saved(1, Path("a"), "state", False), Noticed("n"), Failed("f", {"a": "b"}),
                  Finished(1, 2.0, None, (Path("a"),), False)):
        assert json.loads(json.dumps(as_json(event)))["event"] == type(event).__name__
