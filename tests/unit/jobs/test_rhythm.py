"""How often something is done, in steps, epochs and minutes."""

from __future__ import annotations

from itertools import pairwise

import pytest

from pivotal.jobs.rhythm import Rhythm
from pivotal.training.part import Clock


def beats(rhythm, *, steps, images_per_step=1, dataset=10, minutes_per_step=0.5):
    clocks = [Clock(step, steps, step * images_per_step / dataset, step * images_per_step, step * minutes_per_step)
              for step in range(steps + 1)]
    return [now.steps for before, now in pairwise(clocks) if rhythm.due(before, now)]


def test_each_unit_beats_for_itself():
    assert beats(Rhythm(3), steps=10) == [3, 6, 9]
    assert beats(Rhythm(epochs=1), steps=30) == [10, 20, 30]
    assert beats(Rhythm(minutes=4), steps=20) == [8, 16]
    assert beats(Rhythm(7, 1, 4), steps=20) == [7, 8, 10, 14, 16, 20]
    assert beats(Rhythm(), steps=20) == [] and not Rhythm().is_on and Rhythm(epochs=2).is_on


@pytest.mark.parametrize("every", [0.1, 0.3, 0.7])
def test_parts_of_an_epoch_fall_where_they_should_whatever_floats_say(every):
    found = beats(Rhythm(epochs=every), steps=210)
    assert found == [round(every * 10 * beat) for beat in range(1, int(21 / every) + 1)]


def test_a_beat_between_two_steps_comes_with_the_later_one_and_once():
    assert beats(Rhythm(epochs=1), steps=6, images_per_step=7) == [2, 3, 5, 6]  # 7, 14, 21, 28, 35, 42 images of 10
    assert beats(Rhythm(epochs=1), steps=3, images_per_step=25) == [1, 2, 3]
