"""Which samples a run draws each time, and how often in all."""

from __future__ import annotations

from pivotal.config.resolution import resolutions_of
from pivotal.config.sample_lines import SampleLine, sample_lines
from pivotal.config.train import TrainConfig
from pivotal.data.captions import Captions
from pivotal.models.generate import GenerateSettings

SHOWN = 2  # captions that are drawn when no prompt is given


def sample_images(config: TrainConfig, captions: Captions, usual: int) -> list[tuple[int, SampleLine, int, GenerateSettings]]:
    """The images of one drawing: number of the prompt, its line, number of its image, and how that is drawn.

    Args:
        usual: px, the checkpoint's own resolution.
    """
    samples, side = config.samples, config.samples.size
    height, width = (side, side) if side else resolutions_of(config.dataset.resolution, usual)[0]
    sampler = (samples.host_sampler if samples.through == "the host" else "") or samples.sampler
    lines = sample_lines(samples.prompts) or [SampleLine(text) for text in captions.all_texts()[:SHOWN]]
    return [(index, line, image, GenerateSettings(
        width=line.width or width, height=line.height or height, steps=line.steps or samples.steps,
        sampler=line.sampler or sampler,
        cfg_scale=samples.cfg_scale if line.cfg_scale is None else line.cfg_scale,
        seed=((samples.seed if line.seed is None else line.seed) + image) % 2**32))
        for index, line in enumerate(lines) for image in range(samples.count)]


def planned_samples(config: TrainConfig, captions: Captions, usual: int) -> list[tuple[SampleLine, GenerateSettings]]:
    """As `sample_images`, each as often as it is drawn at once: with the average and with the last step's weights."""
    found = [(line, settings) for _, line, _, settings in sample_images(config, captions, usual)]
    both = config.samples.weights == "both" and (config.optimizer.ema_decay or config.optimizer.ema_half_life)
    return found * (2 if both else 1)


def drawings(config: TrainConfig, images_per_epoch: float) -> int:
    """How often a run draws its samples: before the first step, as often as it says, and after the last."""
    samples, steps = config.samples, config.length.steps
    if not (samples.every_steps or samples.every_epochs):
        return 0
    each = [samples.every_steps] if samples.every_steps else []
    if samples.every_epochs:
        each.append(max(1, round(samples.every_epochs * images_per_epoch / (config.batch.size * config.batch.accumulation))))
    return 2 + sum((steps - 1) // every for every in each)  # those before the last step
