"""How images, repeats, batches, steps and epochs come to each other, in words."""

from __future__ import annotations

from dataclasses import replace

from pivotal.events import Planned, PlannedBucket, PlannedConcept, as_json
from pivotal.jobs.watch.plan_words import plan_lines, plan_sentence
from pivotal.jobs.watch.view import JobView, fold

# 50 images with 10 repeats in batches of 4, two of them an update: 62.5 steps an epoch (bmaltais issue 491 asks for this sum).
ONE = Planned(50, (PlannedConcept("cats", "training", 50, 500.0),), (PlannedBucket((512, 768), 50, 0.031),), 500.0, 125.0, 4, 2,
              1000, 16.0, 8000)
TWO = Planned(60, (PlannedConcept("cats", "training", 50, 5.0), PlannedConcept("others", "regularization", 10, 5.0)),
              tuple(PlannedBucket((64 * index, 512), index, 0.0) for index in range(1, 12)), 10.0, 10.0, 1, 1, 1, 0.1, 1)


def test_the_sum_is_told_whole():
    assert plan_sentence(ONE) == ("50 images x 10 repeats / batch 4 / accumulation 2 = 62.5 steps an epoch; "
                                  "1000 steps are 16 epochs (8000 images seen).")
    assert plan_lines(replace(ONE, enlarged=7))[0].endswith("cut off). 7 images have fewer pixels and are enlarged.")
    assert plan_lines(ONE)[0] == "Sizes: 50 of 768x512 (3.1 % cut off)."


def test_several_sources_have_a_line_each_and_many_sizes_are_joined():
    lines = plan_lines(TWO)
    assert lines[:2] == ["cats: 50 images, 5 an epoch", "others (regularization): 10 images, 5 an epoch"]
    assert lines[2].endswith("8 of 512x512 (0 % cut off), 30 of 3 other sizes.")
    assert lines[3] == ("10 images an epoch / batch 1 / accumulation 1 = 10 steps an epoch; "
                        "1 steps are 0.1 epochs (1 images seen).")


def test_what_is_held_out_is_named_with_its_images_and_counts_for_no_step():
    held = PlannedConcept("held", "validation", 3, 0.0)
    lines = plan_lines(replace(ONE, concepts=(*ONE.concepts, held)))
    assert lines[:2] == ["cats: 50 images, 500 an epoch", "held (validation): 3 images, only measured on"]
    assert lines[-1] == plan_sentence(ONE)
    lines = plan_lines(replace(ONE, concepts=(*ONE.concepts, replace(held, images=1))))
    assert lines[1].startswith("held (validation): 1 image,")


def test_the_view_keeps_the_plan_and_its_words():
    view = fold(JobView(), TWO)
    assert view.plan is TWO and "others (regularization)" in view.log[-1]
    assert as_json(TWO)["concepts"][1] == {"name": "others", "kind": "regularization", "images": 10, "per_epoch": 5.0}
