"""How long a run will take, from what a few of its steps took."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from pivotal.config.train import TrainConfig
from pivotal.data.versions import Versions
from pivotal.data.view import View
from pivotal.jobs.checks.plan import Plan
from pivotal.jobs.dataset_plan import order_of, views_of
from pivotal.jobs.outlook.probe import Probed
from pivotal.jobs.outlook.samples import drawings, planned_samples
from pivotal.jobs.preparation import store_settings


@dataclass(frozen=True)
class Times:
    """Seconds, by what they are spent on."""

    step: float  # one optimizer step, on average over the sizes
    preparing: float  # loading and encoding, where no image is encoded yet
    training: float
    sampling: float
    measuring: float

    @property
    def total(self) -> float:
        return self.preparing + self.training + self.sampling + self.measuring


def times(plan: Plan, probed: Probed, usual: int) -> Times:
    """The run's time; what a step costs grows with the area of its images, as convolutions do.

    A time limit of the run ends the training, not what comes before and after it.
    """
    config, views = plan.config, views_of(plan.captions, plan.config, usual)
    training = _training(config, probed) * _share(views, probed.side)
    if config.length.minutes is not None:
        training = min(training, config.length.minutes * 60)
    per_epoch = order_of(views, config).images
    return Times(training / config.length.steps, probed.prepare + _encoding(plan, views, probed), training,
                 drawings(config, per_epoch) * _drawing(plan, probed, usual), _measuring(plan, probed))


def _training(config: TrainConfig, probed: Probed) -> float:
    firsts = [first for first, _ in probed.steps] + [config.length.steps]
    return sum((end - begin) * seconds for (begin, end), (_, seconds) in zip(pairwise(firsts), probed.steps, strict=True))


def _share(views: Sequence[View], side: float) -> float:
    """The mean area of the images, each as often as it comes, of the area that was measured."""
    rates = sum(view.rate for view in views)
    return sum(view.rate * view.fit.size[0] * view.fit.size[1] for view in views) / rates / side**2 if rates else 1.0


def _encoding(plan: Plan, views: Sequence[View], probed: Probed) -> float:
    if plan.config.cache.latents == "off":
        return 0.0
    settings = store_settings(plan.config, plan.captions)
    area = sum(views[key.view].fit.size[0] * views[key.view].fit.size[1]
               for key in Versions(plan.captions.items, views, settings, reads_masks=False).keys())
    return probed.encode * area / probed.side**2


def _drawing(plan: Plan, probed: Probed, usual: int) -> float:
    """Seconds of one drawing of all samples."""
    if not probed.drawn_side:
        return 0.0
    return sum((probed.draw + probed.draw_step * settings.steps) * settings.width * settings.height / probed.drawn_side**2
               for _, settings in planned_samples(plan.config, plan.captions, usual))


def _measuring(plan: Plan, probed: Probed) -> float:
    options, steps = plan.config.measure, plan.config.length.steps
    images = min(options.images, len(plan.measured.items))
    held_out = plan.measured is not plan.captions
    on_the_way = steps // options.every_steps + bool(steps % options.every_steps) if options.every_steps else 1
    encoded = images * probed.encode if held_out else 0.0
    return (1 + on_the_way) * images * probed.error + encoded
