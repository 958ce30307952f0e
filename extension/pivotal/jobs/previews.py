"""Draws the sample prompts of a run while it goes on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pivotal.config.train import TrainConfig
from pivotal.data.captions import Captions
from pivotal.events import Emit, Noticed, Phase, Sampled
from pivotal.jobs.outputs import save_image
from pivotal.jobs.paths import RunPaths
from pivotal.jobs.trainees import Trainees
from pivotal.models.diffusion import DiffusionModel
from pivotal.models.generate import GenerateSettings, conditioning_for, generate, negative_for

SHOWN = 2  # captions that are drawn when no prompt is given


class Previews:
    """The previews of a run; each prompt is drawn from the same seed every time, so that they can be compared."""

    def __init__(self, config: TrainConfig, captions: Captions, model: DiffusionModel,
                 trainees: Trainees, paths: RunPaths, emit: Emit):
        self.samples, self.model, self.trainees = config.samples, model, trainees
        self.paths, self.emit = paths, emit
        self.last: Path | None = None  # the latest drawing of the first prompt
        self.side = config.samples.size or config.dataset.resolution or model.resolution
        self.prompts = list(config.samples.prompts) or captions.all_texts()[:SHOWN]

    def draw(self, step: int, should_stop: Callable[[], bool]) -> None:
        """Draws every prompt and tells of each image; a failed write is told, not raised."""
        if not self.samples.every_steps:
            return
        vectors = self.trainees.vectors()
        settings = GenerateSettings(width=self.side, height=self.side, steps=self.samples.steps,
                                    sampler=self.samples.sampler, cfg_scale=self.samples.cfg_scale,
                                    seed=self.samples.seed)
        negative = negative_for(self.model, self.samples.negative, vectors)
        for index, prompt in enumerate(self.prompts):
            self.emit(Phase("sampling", index, len(self.prompts)))
            positive = conditioning_for(self.model, prompt, vectors)
            images = generate(self.model, positive, negative, settings, should_stop=should_stop)
            if not images:
                break  # stopped
            path = self.paths.samples / f"step-{step:06d}-{index + 1}.png"
            try:
                save_image(images[0], path, {"prompt": prompt, "Steps": settings.steps, "Sampler": settings.sampler,
                                         "CFG scale": settings.cfg_scale, "Seed": settings.seed, "Trained steps": step})
            except OSError as error:
                self.emit(Noticed(f"{path.name} could not be written ({error.strerror or error})."))
                continue
            self.last = path if index == 0 else self.last
            self.emit(Sampled(step, prompt, path))
        self.emit(Phase("training"))
