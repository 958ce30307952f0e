"""A plan of a run in words: how its images, repeats, batches, steps and epochs come to each other."""

from __future__ import annotations

from pivotal.events import Planned, PlannedBucket, PlannedConcept

MOST_BUCKETS = 8  # that are named each for itself


def plan_lines(plan: Planned) -> list[str]:
    """The sources, the sizes and the sum, a line each."""
    lines = [concept_words(concept) for concept in plan.concepts] if len(plan.concepts) > 1 else []
    return [*lines, buckets_sentence(plan), plan_sentence(plan)]


def plan_sentence(plan: Planned) -> str:
    """``40 images x 10 repeats / batch 4 / accumulation 1 = 100 steps an epoch; 500 steps are 5 epochs.``"""
    seen = f"{_number(plan.images_per_epoch)} images an epoch"
    if sum(concept.kind != "validation" for concept in plan.concepts) == 1 and plan.images:
        seen = f"{plan.images} images x {_counted(plan.images_per_epoch / plan.images, 'repeat')}"
    steps = plan.batches_per_epoch / plan.accumulation
    return (f"{seen} / batch {plan.batch} / accumulation {plan.accumulation} = {_counted(steps, 'step')} an epoch; "
            f"{plan.steps} steps are {_counted(plan.epochs, 'epoch')} ({plan.images_seen} images seen).")


def concept_words(concept: PlannedConcept) -> str:
    """``cats (regularization): 40 images, 400 an epoch``; ``held (validation): 3 images, only measured on``"""
    kind = "" if concept.kind == "training" else f" ({concept.kind})"
    often = "only measured on" if concept.kind == "validation" else f"{_number(concept.per_epoch)} an epoch"
    return f"{concept.name}{kind}: {_counted(concept.images, 'image')}, {often}"


def buckets_sentence(plan: Planned) -> str:
    """``Sizes: 30 of 512x512 (3 % cut off), 10 of 448x576 (0 % cut off).``, width first as one speaks of images."""
    told = [bucket_words(bucket) for bucket in plan.buckets[:MOST_BUCKETS]]
    if len(plan.buckets) > MOST_BUCKETS:
        rest = plan.buckets[MOST_BUCKETS:]
        told.append(f"{sum(bucket.images for bucket in rest)} of {len(rest)} other sizes")
    enlarged = f" {plan.enlarged} images have fewer pixels and are enlarged." if plan.enlarged else ""
    return f"Sizes: {', '.join(told)}.{enlarged}"


def bucket_words(bucket: PlannedBucket) -> str:
    """``30 of 512x512 (3 % cut off)``"""
    height, width = bucket.size
    return f"{bucket.images} of {width}x{height} ({_number(100 * bucket.cropped)} % cut off)"


def _counted(value: float, what: str) -> str:
    return f"{_number(value)} {what}{'' if value == 1 else 's'}"


def _number(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 or value == round(value) else f"{value:.2g}" if value < 10 else f"{value:.1f}"
