"""What a host has that draws samples of a run: AUTOMATIC1111's own samplers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

from PIL import Image

from pivotal.models.diffusion import Conditioning, DiffusionModel
from pivotal.models.generate import GenerateSettings


@runtime_checkable
class Drawing(Protocol):
    """A host whose samplers can draw with the lent model as it is being trained, without touching what is the host's."""

    def samplers(self) -> Sequence[str]:
        """The names that `GenerateSettings.sampler` may have in `draw`."""

    def draw(self, model: DiffusionModel, prompt: Conditioning, negative: Conditioning, settings: GenerateSettings,
             should_stop: Callable[[], bool]) -> list[Image.Image]:
        """As `models.generate.generate`, from the host's own noise; inside of `Host.borrow`, with the model that it lent."""
