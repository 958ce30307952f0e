"""What a run's images are for, and how often each is seen."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from pivotal.config.sections.augment import Augment
from pivotal.config.sections.caption import Caption
from pivotal.data.folder import Item

Kind = Literal["training", "regularization", "validation"]


@dataclass(frozen=True)
class Wording:
    """How the captions of a concept are made."""

    templates: Sequence[str] = ()
    name: str = ""  # what [name] and {} become: the placeholders of the run
    rules: Caption = field(default_factory=Caption)
    before: bool = False  # whether a template comes before the caption; else it takes its place


@dataclass(frozen=True)
class Concept:
    """Images that are treated alike."""

    name: str = ""
    kind: Kind = "training"
    repeats: float = 1.0  # times each image is seen in an epoch; of regularization see `rates`
    images_per_epoch: int | None = None
    weight: float = 1.0  # of its images' loss
    prior: bool = False  # whether its images shall be what the model answered before the run
    augment: Augment = Augment()  # how its images are changed
    resolution: str = ""  # of its images, as it was typed; empty: the run's
    wording: Wording = field(default_factory=Wording)


def held_back(items: Sequence[Item], share: float, seed: int) -> tuple[list[Item], list[Item]]:
    """`items` to train on, and `share` of them, at least one but never all, that are held back; both in their order.

    Who is held back is drawn by name, so that the same images are as long as none are added or taken away.
    """
    count = min(max(round(len(items) * share), 1), len(items) - 1) if share else 0
    drawn = sorted(range(len(items)), key=lambda index: random.Random(f"{seed}/held back/{items[index].path.name}").random())
    back = set(drawn[:count])
    return ([item for index, item in enumerate(items) if index not in back],
            [item for index, item in enumerate(items) if index in back])


def rates(items: Sequence[Item], concepts: Sequence[Concept]) -> list[float]:
    """How often each image is seen in an epoch.

    Regularization images together come as often as training images do, times their repeats; all of them take part, in
    turn (kohya never sees those beyond the number of training images).
    """
    counts = [0] * len(concepts)
    for item in items:
        counts[item.concept] += 1
    trained = [_own_rate(concept, count) * count for concept, count in zip(concepts, counts, strict=True)
               if concept.kind != "regularization"]
    balancing = sum(count for concept, count in zip(concepts, counts, strict=True)
                    if concept.kind == "regularization" and concept.images_per_epoch is None)
    each = [_own_rate(concept, count) * (sum(trained) / balancing if _is_balanced(concept) else 1.0)
            for concept, count in zip(concepts, counts, strict=True)]
    return [each[item.concept] for item in items]


def _is_balanced(concept: Concept) -> bool:
    return concept.kind == "regularization" and concept.images_per_epoch is None


def _own_rate(concept: Concept, count: int) -> float:
    return concept.repeats if concept.images_per_epoch is None or not count else concept.images_per_epoch / count
