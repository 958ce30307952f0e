"""What the model predicts for a batch, with what is trained and without it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from pivotal.models.diffusion import Conditioning, DiffusionModel, Vectors
from pivotal.prompts.chunks import TokenizedPrompt
from pivotal.training.batch import Batch
from pivotal.training.part import Part
from pivotal.training.precision import autocast
from pivotal.training.text_cache import TextCache


@dataclass(frozen=True)
class Untrained:
    """The model as it was before the run: without its networks, its placeholders as at the start."""

    vectors: Vectors  # what each placeholder stood for
    lifted: Callable[[], AbstractContextManager[None]]  # takes the networks off while it lasts


class Denoiser:
    """A model and what is trained on it.

    Args:
        compute: the format of the work.
        untrained: needed only for predictions `without` what is trained.
        text: where conditionings are kept, when nothing in the text encoders changes.
        pads: whether captions are filled up to 75 tokens, as prompts are.
    """

    def __init__(self, model: DiffusionModel, parts: Sequence[Part], compute: torch.dtype,
                 untrained: Untrained | None = None, text: TextCache | None = None, *, pads: bool = True):
        self.model, self.compute, self._pads = model, compute, pads
        self._untrained, self._text = untrained, text
        self._vectors = {name: values for part in parts for name, values in part.trainable.vectors().items()}

    def predict(self, batch: Batch, noisy: Tensor, timesteps: Tensor) -> Tensor:
        """(B, 4, h, w) the answer for latents (B, 4, h, w) that have noise, at (B,) timesteps."""
        told = self.told(batch)
        with self._autocast():
            return self._answer(batch, noisy, timesteps, told)

    def told(self, batch: Batch) -> Conditioning:
        """What the UNet is told of the batch's prompts."""
        with self._autocast():
            told = (self.model.encode_prompts(batch.prompts, self._vectors) if self._text is None
                    else self._text.encode(self.model, batch.prompts, self._vectors))
        return told if self._pads else without_padding(told, batch.prompts)

    def compute_in_fp32(self) -> None:
        """From now on, with the weights of UNet and text encoders in fp32, too; copies, where they are not.

        Whoever lent the modules gets them back as they were (models/lend.py); other hosts' tensors are not ours to begin with.
        """
        self.compute = torch.float32
        for module in (self.model.unet, *(encoder.module for encoder in self.model.text_encoders)):
            module.float()
        if self._text is not None:
            self._text.clear()

    @torch.no_grad()
    def without(self, batch: Batch, rows: Tensor, noisy: Tensor, timesteps: Tensor) -> Tensor:
        """(n, 4, h, w) what the model answered before the run for the n images that `rows` (B,) bools say."""
        assert self._untrained is not None, "made without what the model was before the run"
        chosen = rows.nonzero().flatten()
        with self._untrained.lifted(), self._autocast():
            told = self.model.encode_prompts(batch.prompts, self._untrained.vectors)  # all, for the same padding
            told = told if self._pads else without_padding(told, batch.prompts)
            told = Conditioning(told.hidden[chosen.to(told.hidden.device)],
                                None if told.pooled is None else told.pooled[chosen.to(told.pooled.device)])
            part = replace(batch, size_ids=batch.size_ids[chosen.cpu()],
                           inpainting=None if batch.inpainting is None else batch.inpainting[chosen.cpu()])
            there = chosen.to(noisy.device)
            return self._answer(part, noisy[there], timesteps[there], told)

    def _autocast(self) -> AbstractContextManager[object]:
        return autocast(self.model.device, self.compute, self.model.dtype)

    def _answer(self, batch: Batch, noisy: Tensor, timesteps: Tensor, conditioning: Conditioning) -> Tensor:
        model = self.model
        return model.predict(noisy.to(model.dtype), timesteps, conditioning, batch.size_ids.to(model.device),
                             batch.inpainting)


def without_padding(told: Conditioning, prompts: Sequence[TokenizedPrompt]) -> Conditioning:
    """`told` up to the end of the longest of `prompts`; whole where one has more than 75 tokens.

    CLIP's states do not depend on what follows, so that cutting padding off gives what is encoded without it (kohya,
    no_token_padding, fills up to the longest of a batch in the same way).
    """
    if any(len(prompt.chunks) > 1 for prompt in prompts):
        return told
    longest = max(len(prompt.chunks[0].ids) for prompt in prompts) + 2  # start and end
    return replace(told, hidden=told.hidden[:, :longest])
