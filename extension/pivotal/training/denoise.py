"""What the model predicts for a batch, with what is trained and without it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from pivotal.models.devices import sent
from pivotal.models.diffusion import Conditioning, DiffusionModel, Vectors
from pivotal.prompts.chunks import TokenizedPrompt
from pivotal.training.batch import Batch
from pivotal.training.part import Part
from pivotal.training.precision import autocast, casts, with_fp32
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
        return self._answer(batch, noisy, timesteps, self.told(batch))

    def told(self, batch: Batch) -> Conditioning:
        """What the UNet is told of the batch's prompts."""
        return self._told(batch, self._vectors, self._text)

    def compute_in_fp32(self) -> None:
        """From now on, with the weights in fp32, too."""
        self.compute = torch.float32
        with_fp32(self.model, "fp32")
        if self._text is not None:
            self._text.clear()

    @torch.no_grad()
    def without(self, batch: Batch, rows: Tensor, noisy: Tensor, timesteps: Tensor) -> Tensor:
        """(n, 4, h, w) what the model answered before the run for the n images that `rows` say: (B,) bools on the CPU."""
        assert self._untrained is not None, "made without what the model was before the run"
        chosen = rows.nonzero().flatten()
        with self._untrained.lifted():
            told = self._told(batch, self._untrained.vectors)  # all, for the same padding
            there = sent(chosen, noisy.device)
            told = Conditioning(told.hidden[there], None if told.pooled is None else told.pooled[there])
            part = replace(batch, size_ids=batch.size_ids[chosen],
                           inpainting=None if batch.inpainting is None else batch.inpainting[chosen])
            return self._answer(part, noisy[there], timesteps[there], told)

    def _told(self, batch: Batch, vectors: Vectors, kept: TextCache | None = None) -> Conditioning:
        model = self.model
        # fp16 beside a UNet in bf16, as Forge may have it: gradients would vanish in it, for only work in fp16 is scaled. A
        # processor's norms, though, take no fp16 weights under autocast.
        is_narrow = model.text_dtype == torch.float16 and model.device.type != "cpu"
        weights = torch.float16 if is_narrow else model.dtype
        with autocast(model.device, self.compute, weights):
            told = model.encode_prompts(batch.prompts, vectors) if kept is None else kept.encode(model, batch.prompts, vectors)
        return told if self._pads else without_padding(told, batch.prompts)

    def _answer(self, batch: Batch, noisy: Tensor, timesteps: Tensor, conditioning: Conditioning) -> Tensor:
        model = self.model
        # Where weights are cast all comes in fp32, the conditioning too: through it goes what text encoders and embeddings
        # learn from, and in the weights' fp16 that would vanish.
        noisy = noisy.float() if casts(self.compute, model.dtype) else noisy.to(model.dtype)
        with autocast(model.device, self.compute, model.dtype):
            return model.predict(noisy, timesteps, conditioning, sent(batch.size_ids, model.device), batch.inpainting)


def without_padding(told: Conditioning, prompts: Sequence[TokenizedPrompt]) -> Conditioning:
    """`told` up to the end of the longest of `prompts`; whole where one has more than 75 tokens.

    CLIP's states do not depend on what follows, so that cutting padding off gives what is encoded without it (kohya,
    no_token_padding, fills up to the longest of a batch in the same way).
    """
    if any(len(prompt.chunks) > 1 for prompt in prompts):
        return told
    longest = max(len(prompt.chunks[0].ids) for prompt in prompts) + 2  # start and end
    return replace(told, hidden=told.hidden[:, :longest])
