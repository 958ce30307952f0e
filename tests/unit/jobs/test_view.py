"""A run as one sees it, folded from its events."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path

import pytest

from pivotal.events import (
    Discarded,
    Failed,
    Finished,
    ImageLoss,
    LossesTold,
    Measured,
    Noticed,
    Paused,
    Phase,
    Resumed,
    Sampled,
    Saved,
    Started,
    StepDone,
    VectorsTold,
    VectorTold,
    as_json,
)
from pivotal.jobs.watch.curve import MOST, grown
from pivotal.jobs.watch.view import LOG, SAMPLES, JobView, Notice, fold


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


def test_a_long_curve_is_short_and_keeps_its_peaks_where_they_were():
    """One high and one low step among 100,000: what every mean and every n-th point would lose."""
    noise = random.Random(3)
    losses = [0.2 + 0.1 * noise.random() for _ in range(100_000)]
    losses[77_777], losses[31_234] = 9.0, 0.001
    view = folded([])
    for step, loss in enumerate(losses, 1):
        curve, stride = grown(view.curve, view.stride, (step, loss, 0.25))
        view = replace(view, curve=curve, stride=stride)
        assert view.curve[-1][0] == step
    assert MOST / 2 <= len(view.curve) <= MOST
    steps_of = [point[0] for point in view.curve]
    assert steps_of == sorted(set(steps_of)) and (77_778, 9.0, 0.25) in view.curve and (31_235, 0.001, 0.25) in view.curve
    for first in range(0, 100_000 - view.stride, view.stride):  # of each stretch, the very lowest and highest
        inside = [loss for step, loss, _ in view.curve if step // view.stride == first // view.stride]
        stretch = losses[max(first - 1, 0):first + view.stride - 1]
        assert (min(inside), max(inside)) == (min(stretch), max(stretch))


def test_a_short_curve_has_every_step():
    assert [point[0] for point in folded(steps(1, 100)).curve] == list(range(1, 101))


def test_rates_and_estimates_are_curves_of_each_part():
    events = [StepDone(step, 3000, 0.1, 0.1, {"zk": step / 10, "unet": 1.0}, 0.1, step, {"unet": 1e-6 * step})
              for step in range(1, 3001)]
    view = folded(events)
    assert view.rate_curve[0] == (1, {"zk": 0.1, "unet": 1.0}) and view.rate_curve[-1] == (3000, {"zk": 300.0, "unet": 1.0})
    assert 60 <= len(view.rate_curve) <= MOST // 2 and len(view.estimate_curve) == len(view.rate_curve)
    assert view.estimate_curve[-1] == (3000, {"unet": 0.003})
    assert folded(steps(1, 50)).estimate_curve == ()


def test_a_pause_shows_and_a_stop_pressed_meanwhile_stays():
    assert fold(JobView(state="pausing"), Paused(3)).state == "paused"
    assert fold(JobView(state="paused"), Resumed(3)).state == "running"
    for event in (Paused(3), Resumed(3)):
        assert fold(JobView(state="stopping"), event).state == "stopping"
    assert fold(JobView(state="running"), Paused(3)).state == "paused"  # what it waits for is not there yet


def test_a_run_with_a_time_limit_counts_minutes():
    view = folded([Started(1000, 4, 1, "toy", 10, 2.0, 60.0), *steps(11, 30)])
    assert view.share == pytest.approx((60 + 20 * 0.5) / 120) and view.seconds_left == pytest.approx(50)
    assert folded([Started(1000, 4, 1, "toy"), *steps(1, 100)]).share == pytest.approx(0.1)
    assert folded([Started(100, 4, 1, "toy", 0, 60.0), *steps(1, 50, 100)]).share == pytest.approx(0.5)


def test_notices_with_a_key_are_listed_once_with_their_count():
    view = folded([Noticed("a", "seed"), Noticed("b", "seed"), Noticed("a", "seed"), Noticed("without a key")])
    assert view.notices == (Notice("seed", "b"), Notice("seed", "a", 2)) and len(view.log) == 4


def test_a_discarded_run_has_no_files_and_says_what_became_of_them():
    view = folded([Saved(2, Path("a"), "embedding", False), Sampled(1, "p", Path("b")),
                   Discarded((Path("a"), Path("b")), (Path("c"),), (Path("d"),)), Finished(2, 1.0, 0.1, (), True)])
    assert (view.files, view.samples, view.state) == ((), (), "stopped")
    assert view.message == "Discarded: 2 files are deleted, 1 older one is back. d could not be deleted, or was changed since."


def test_samples_keep_their_numbers_when_the_oldest_are_let_go():
    view = folded([Sampled(step, "p", Path(f"{step}.png")) for step in range(SAMPLES + 3)])
    assert len(view.samples) == SAMPLES and view.samples_dropped == 3 and view.samples[0][0] == 3


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
                  Paused(3), Resumed(3), Discarded((Path("a"),), (), ()),
                  VectorsTold(1, (VectorTold("zk", "clip_l", 1, 0.4, 1.0, 0.1, (("cat", 0.5),), True),), {"0": 0.2}),
                  Finished(1, 2.0, None, (Path("a"),), False)):
        assert json.loads(json.dumps(as_json(event)))["event"] == type(event).__name__
