"""Which images come how often and at what size, as it is told before the first step."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from pivotal.config.resolution import resolutions_of
from pivotal.config.train import TrainConfig
from pivotal.data.buckets import fits, make_views, summary
from pivotal.data.captions import Captions
from pivotal.data.concepts import rates
from pivotal.data.order import Order
from pivotal.data.view import Fit, View
from pivotal.events import Planned, PlannedBucket, PlannedConcept
from pivotal.hosts.protocol import Host
from pivotal.models.families import FAMILIES, SD1


def views_of(captions: Captions, config: TrainConfig, usual: int) -> list[View]:
    """The views of all images, as often as their concepts say.

    Args:
        usual: px, side of the resolution where the run names none.
    """
    of_run, items = config.dataset.resolution, captions.items
    resolutions = [resolutions_of(concept.resolution or of_run, usual) for concept in captions.concepts]
    fitted: list[Sequence[Fit]] = [()] * len(items)
    for chosen in dict.fromkeys(resolutions):
        indices = [index for index, item in enumerate(items) if resolutions[item.concept] == chosen]
        found = fits([items[index].size for index in indices], config.buckets, chosen)
        for index, fit in zip(indices, found, strict=True):
            fitted[index] = fit
    return make_views(fitted, rates(items, captions.concepts))


def order_of(views: Sequence[View], config: TrainConfig) -> Order:
    """The order in which `views` come."""
    return Order(views, config.batch.size, config.seed, config.buckets.incomplete)


def usual_resolution(config: TrainConfig, host: Host) -> int:
    """px, of the checkpoint that will be trained on; of one that is not known yet, as far as can be told."""
    loaded = host.checkpoint()
    if loaded is None or config.checkpoint not in ("", loaded.name):
        return SD1.resolution
    return loaded.resolution or FAMILIES.get(loaded.family, SD1).resolution


def planned(captions: Captions, measured: Captions, config: TrainConfig, usual: int) -> Planned:
    """What a run with `length.steps` steps will see.

    Args:
        measured: the images that are held out; `captions` itself where none are.
    """
    views = views_of(captions, config, usual)
    order, accumulation = order_of(views, config), config.batch.accumulation
    per_epoch = order.images / config.batch.size
    seen = config.length.steps * config.batch.size * accumulation
    rate = [0.0] * len(captions.concepts)
    for view in views:
        rate[captions.items[view.item].concept] += view.rate
    concepts = _concepts(captions, rate)
    if measured is not captions:
        concepts += _concepts(measured, [0.0] * len(measured.concepts))
    buckets = tuple(PlannedBucket(found.size, found.images, found.cropped) for found in summary(view.fit for view in views))
    return Planned(len(captions.items), concepts, buckets, order.images, per_epoch, config.batch.size, accumulation,
                   config.length.steps, seen / order.images, seen, _enlarged(views))


def _concepts(captions: Captions, per_epoch: Sequence[float]) -> tuple[PlannedConcept, ...]:
    counts = Counter(item.concept for item in captions.items)
    return tuple(PlannedConcept(concept.name, concept.kind, counts[index], each)
                 for index, (concept, each) in enumerate(zip(captions.concepts, per_epoch, strict=True)))


def _enlarged(views: Sequence[View]) -> int:
    return len({view.item for view in views if view.fit.scaled > view.fit.original})
