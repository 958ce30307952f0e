"""Which images come how often and at what size, as it is told before the first step."""

from __future__ import annotations

from collections.abc import Sequence

from pivotal.config.resolution import resolutions_of
from pivotal.config.train import TrainConfig
from pivotal.data.buckets import fits, make_views, summary
from pivotal.data.captions import Captions
from pivotal.data.concepts import rates
from pivotal.data.order import Order
from pivotal.data.view import View
from pivotal.events import Planned, PlannedBucket, PlannedConcept
from pivotal.hosts.protocol import Host
from pivotal.models.families import FAMILIES, SD1


def views_of(captions: Captions, config: TrainConfig, usual: int) -> list[View]:
    """The views of all images, as often as their concepts say.

    Args:
        usual: px, side of the resolution where the run names none.
    """
    fitted = fits([item.size for item in captions.items], config.buckets, resolutions_of(config.dataset.resolution, usual))
    return make_views(fitted, rates(captions.items, captions.concepts))


def order_of(views: Sequence[View], config: TrainConfig) -> Order:
    """The order in which `views` come."""
    return Order(views, config.batch.size, config.seed, config.buckets.incomplete)


def usual_resolution(config: TrainConfig, host: Host) -> int:
    """px, of the checkpoint that will be trained on; of one that is not known yet, as far as can be told."""
    loaded = host.checkpoint()
    if loaded is None or config.checkpoint not in ("", loaded.name):
        return SD1.resolution
    return loaded.resolution or FAMILIES.get(loaded.family, SD1).resolution


def planned(captions: Captions, config: TrainConfig, usual: int) -> Planned:
    """What a run with `length.steps` steps will see."""
    views = views_of(captions, config, usual)
    order, accumulation = order_of(views, config), config.batch.accumulation
    per_epoch = order.images / config.batch.size
    seen = config.length.steps * config.batch.size * accumulation
    counts = [0] * len(captions.concepts)
    rate = [0.0] * len(captions.concepts)
    for view in views:
        rate[captions.items[view.item].concept] += view.rate
    for item in captions.items:
        counts[item.concept] += 1
    concepts = tuple(PlannedConcept(concept.name, concept.kind, count, each) for concept, count, each in
                     zip(captions.concepts, counts, rate, strict=True))
    buckets = tuple(PlannedBucket(found.size, found.images, found.cropped) for found in summary(view.fit for view in views))
    return Planned(len(captions.items), concepts, buckets, order.images, per_epoch, config.batch.size, accumulation,
                   config.length.steps, seen / order.images, seen, _enlarged(views))


def _enlarged(views: Sequence[View]) -> int:
    return len({view.item for view in views if view.fit.scaled > view.fit.original})
