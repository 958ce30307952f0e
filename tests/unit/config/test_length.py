"""How many steps a run has."""

from __future__ import annotations

import random
from fractions import Fraction

import pytest

from pivotal.config.build import build, draft
from pivotal.config.length import total_steps, with_length
from pivotal.config.train import TrainConfig

BASE = {"dataset.folder": "images", "embeddings.0.placeholder": "a"}


def config(**changes):
    return build(TrainConfig, BASE | {key.replace("__", "."): value for key, value in changes.items()})


def test_a_length_in_epochs_or_images_takes_the_place_of_steps():
    assert total_steps(config(length__steps=70), 10) == 70
    assert total_steps(config(length__epochs=5, batch__size=4), 400) == 500
    assert total_steps(config(length__images=15_000, batch__size=1, batch__accumulation=15), 7) == 1000
    assert total_steps(config(length__epochs=0.01, batch__size=4), 10) == 1
    assert total_steps(config(length__minutes=5, length__steps=70), 10) == 70


def test_an_epoch_is_whole_whatever_floats_say():
    drawn = random.Random(3)
    for _ in range(300):
        tenths, images, size = drawn.randint(1, 200), drawn.randint(1, 997), drawn.randint(1, 9)
        exact = -(-Fraction(tenths, 10) * images // size)
        assert total_steps(config(length__epochs=tenths / 10, batch__size=size), images) == max(1, exact)


def test_the_number_found_is_where_all_else_reads_it_and_finding_it_again_changes_nothing():
    found = with_length(config(length__epochs=3, batch__size=2, pivot__at=0.5), 20)
    assert found.length.steps == 30 and found.pivot_step == 15 and found.length.epochs == 3
    assert with_length(found, 20) == found


def test_two_lengths_and_a_warm_up_in_steps_of_unknown_number_are_problems():
    def problems(**more):
        return draft(TrainConfig, BASE | {key.replace("__", "."): value for key, value in more.items()})[1]

    assert list(problems(length__epochs=2, length__images=7)) == ["length.images"]
    assert list(problems(length__minutes=2, schedule__warmup=10)) == ["schedule.warmup"]
    assert problems(length__minutes=2, schedule__warmup=0.1) == {}


@pytest.mark.parametrize("value", [0, -1, "nan", "many", 1e12])
def test_no_length_is_nonsense(value):
    assert list(draft(TrainConfig, BASE | {"length.epochs": value})[1]) == ["length.epochs"]
