"""Draws the sample prompts of a run while it goes on."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from pivotal.config.sample_lines import SampleLine
from pivotal.config.train import TrainConfig
from pivotal.data.captions import Captions
from pivotal.events import Emit, Noticed, Phase, Sampled
from pivotal.hosts.drawing import Drawing
from pivotal.hosts.protocol import Host
from pivotal.jobs.memory import is_out_of_memory, let_go
from pivotal.jobs.outlook.samples import sample_images
from pivotal.jobs.outputs import save_image
from pivotal.jobs.paths import RunPaths
from pivotal.jobs.trainees import Trainees
from pivotal.models.diffusion import DiffusionModel
from pivotal.models.generate import GenerateSettings, conditioning_for, generate, negative_for
from pivotal.training.session import Session

log = logging.getLogger(__name__)


class Previews:
    """The previews of a run; each prompt is drawn from the same seeds every time, so that they can be compared."""

    def __init__(self, config: TrainConfig, captions: Captions, model: DiffusionModel,
                 trainees: Trainees, paths: RunPaths, emit: Emit, host: Host):
        self.samples, self.model, self.trainees = config.samples, model, trainees
        self.paths, self.emit = paths, emit
        self.last: Path | None = None  # the latest drawing of the first prompt
        self.images = sample_images(config, captions, model.resolution)
        is_hosts = config.samples.through == "the host" and isinstance(host, Drawing)
        self._generate = host.draw if is_hosts else generate

    def draw(self, session: Session, should_stop: Callable[[], bool]) -> None:
        """Draws every prompt, with the weights that are asked for, and tells of each image."""
        for raw in self._weights(session):
            with session.averaged(ema=not raw):
                self._draw(session.progress.step, raw, should_stop)
        self.emit(Phase("training"))

    def _weights(self, session: Session) -> tuple[bool, ...]:
        """Whether to draw with the last step's weights instead of their average, once or twice."""
        if not session.has_ema or self.samples.weights == "averaged":
            return (False,)
        return (True,) if self.samples.weights == "last" else (False, True)

    def _draw(self, step: int, raw: bool, should_stop: Callable[[], bool]) -> None:
        """A failed write is told, not raised; a stop leaves out the rest."""
        vectors = self.trainees.vectors()
        for number, (index, line, image, settings) in enumerate(self.images):
            self.emit(Phase("sampling", number, len(self.images)))
            try:
                negative = negative_for(self.model, self._negative(line), vectors)
                drawn = self._generate(self.model, conditioning_for(self.model, line.prompt, vectors), negative, settings,
                                       should_stop=should_stop)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                self._no_room(error, step, settings)
                return
            if not drawn:
                return  # stopped
            path = self.paths.samples / f"step-{step:06d}-{index + 1}{f'-{image + 1}' if image else ''}{'-raw' * raw}.png"
            try:
                save_image(drawn[0], path, self._parameters(line, settings, step))
            except OSError as error:
                self.emit(Noticed(f"{path.name} could not be written ({error.strerror or error})."))
                continue
            self.last = path if number == 0 else self.last
            self.emit(Sampled(step, line.prompt, path, settings.seed, raw))

    def _no_room(self, error: BaseException, step: int, settings: GenerateSettings) -> None:
        """A sample is worth less than the run: it is left out, and tried again when the next is due."""
        log.error("out of memory at a sample", exc_info=error)
        let_go(error)
        self.emit(Noticed(f"Step {step}: no more samples are drawn, as the device ran out of memory. They are {settings.width} x "
                          f"{settings.height} px; a smaller size needs less.", "samples.size"))

    def _negative(self, line: SampleLine) -> str:
        return self.samples.negative if line.negative is None else line.negative

    def _parameters(self, line: SampleLine, settings: GenerateSettings, step: int) -> dict[str, object]:
        prompt = line.prompt + (f"\nNegative prompt: {self._negative(line)}" if self._negative(line) else "")
        return {"prompt": prompt, "Steps": settings.steps, "Sampler": settings.sampler, "CFG scale": settings.cfg_scale,
                "Seed": settings.seed, "Size": f"{settings.width}x{settings.height}", "Trained steps": step}
