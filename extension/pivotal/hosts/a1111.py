"""AUTOMATIC1111's stable-diffusion-webui as a host: trains on the checkpoint that it has loaded. Seen with 1.10.1.

Samples of a run are never drawn by its process_images (processing.py), which would touch what is not ours: it loads the
checkpoint and VAE that the page has chosen meanwhile, reads the embeddings folder, runs all other extensions' scripts, puts
LoRAs into the lent weights, rewrites alphas_cumprod, params.txt, the encoded prompts it keeps and the random states; and it
knows words only from its table of embeddings and networks only from files. Its samplers alone can do it (a1111_drawing.py).
Forge's and reForge's samplers ask for models and patches of their own. tests/host shows how near ours come.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from PIL import Image

from pivotal.hosts import a1111_drawing
from pivotal.hosts.a1111_checkpoint import described, is_chosen, switched_to
from pivotal.hosts.a1111_guard import Guard
from pivotal.hosts.a1111_model import (
    family_of,
    model_over,
    refuse_other_families,
    refuse_what_cannot_be_shared,
    take_out_networks,
)
from pivotal.hosts.a1111_refresh import forget_prompts, refresh_embeddings, refresh_networks
from pivotal.hosts.a1111_text import prompt_context, tokenizers
from pivotal.hosts.protocol import Checkpoint, NetworkReader, PromptContext
from pivotal.hosts.webui import WebuiHost
from pivotal.models.diffusion import Conditioning, DiffusionModel
from pivotal.models.generate import GenerateSettings


class A1111Host(WebuiHost[Guard]):
    """See hosts.protocol.Host."""

    name = "a1111"
    reads_bundles = True  # since 1.7.0
    network_reader = NetworkReader()

    def checkpoint(self) -> Checkpoint | None:
        return described()

    @contextmanager
    def borrow(self, checkpoint: str) -> Iterator[DiffusionModel]:
        assert self._turn.mine, "borrow is for inside of run"
        with switched_to(checkpoint) as model:
            text = tokenizers(model, family_of(model)) or {"": self._own_tokenizer()}
            refuse_other_families(model)
            refuse_what_cannot_be_shared(model)
            take_out_networks(model)
            self._guard = Guard(model)
            try:
                with self._guard.unharmed():
                    yield model_over(model, next(iter(text.values())))
            finally:
                self._guard = None

    def let_through(self) -> None:
        guard = self._guard
        # Prompts would have the chosen checkpoint loaded in place of ours; they wait, as they do without this.
        if guard is None or not is_chosen(guard.model.sd_checkpoint_info):
            return
        if self._turn.step_aside(guard.remember) and guard.is_same:
            take_out_networks(guard.model)
            guard.forgive()

    def prompt_context(self) -> PromptContext:
        return prompt_context(family_of, self._own_tokenizer)

    def samplers(self) -> Sequence[str]:
        """See hosts.drawing."""
        return a1111_drawing.sampler_names()

    def draw(self, model: DiffusionModel, prompt: Conditioning, negative: Conditioning, settings: GenerateSettings,
             should_stop: Callable[[], bool]) -> list[Image.Image]:
        """See hosts.drawing."""
        assert self._turn.mine, "draw is for inside of run"
        return a1111_drawing.draw(model, prompt, negative, settings, should_stop)

    def refresh(self, artifact: Path) -> None:
        with self._turn.locked():
            if artifact.absolute().is_relative_to(self.folders().loras):
                refresh_networks(artifact)
            else:
                refresh_embeddings(artifact)
            forget_prompts()
