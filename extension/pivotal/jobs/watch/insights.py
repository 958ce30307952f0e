"""Looks now and then at what is being learned: the vectors of embeddings, and which timesteps are hard."""

from __future__ import annotations

import time
from collections.abc import Iterator

import torch
from torch import Tensor

from pivotal.embeddings.initialize import row_norms
from pivotal.embeddings.nearest import drift, nearest_tokens
from pivotal.embeddings.trained import TrainedEmbedding
from pivotal.events import Emit, VectorsTold, VectorTold
from pivotal.jobs.trainees import Trainees
from pivotal.models.diffusion import DiffusionModel
from pivotal.prompts.pieces import token_bytes, token_name
from pivotal.training.session import Session

NEAREST = 3  # tokens named for each vector
MOST = 150  # vectors that are told of: two chunks of a prompt
LEAST_SECONDS, SHARE = 5.0, 0.01  # between two looks: so long, and so much of the time that has passed, so that logs stay small
TIMES = 100  # nor sooner than after so many times what a look takes: all of a large table is compared


class Insights:
    """Of one run; made before its values are restored, so that it knows where they began."""

    def __init__(self, trainees: Trainees, model: DiffusionModel, emit: Emit):
        learning = {part.name for part in trainees.parts if part.learns}
        self._embeddings = [embedding for embedding in trainees.embeddings if embedding.placeholder in learning]
        self._starts = [[value.detach().cpu().clone() for value in embedding.values] for embedding in self._embeddings]
        self._model, self._emit = model, emit
        self._norms: list[Tensor] | None = None  # of each text encoder's tokens
        self._medians: list[float] = []
        self._began = time.monotonic()
        self._looked, self._took = -float("inf"), 0.0
        self._told = 0  # the step

    def after_step(self, session: Session) -> None:
        """Tells of them when it was long enough ago, and at the end."""
        now = time.monotonic()
        if now - self._looked >= max(LEAST_SECONDS, SHARE * (now - self._began), TIMES * self._took) or session.clock().ended:
            self.tell(session)
            self._looked = time.monotonic()
            self._took = self._looked - now

    def tell(self, session: Session) -> None:
        """Tells of them now, unless nothing was learned since they were told of."""
        if self._told == session.progress.step:
            return
        self._told = session.progress.step
        bands = {str(first): loss for first, loss in session.record.by_band()}
        self._emit(VectorsTold(session.progress.step, tuple(self._vectors())[:MOST], bands))

    def _vectors(self) -> Iterator[VectorTold]:
        tables = [encoder.table.weight for encoder in self._model.text_encoders]
        if self._embeddings and self._norms is None:
            self._norms = [row_norms(table) for table in tables]
            self._medians = [norms.median().item() for norms in self._norms]
        for embedding, starts in zip(self._embeddings, self._starts, strict=True):
            for place, (table, start) in enumerate(zip(tables, starts, strict=True)):
                yield from self._of_encoder(embedding, place, table, start)

    def _of_encoder(self, embedding: TrainedEmbedding, place: int, table: Tensor, start: Tensor) -> Iterator[VectorTold]:
        assert self._norms is not None
        values = embedding.values[place].detach()
        cosines, ids = nearest_tokens(values, table, self._norms[place], NEAREST)
        norms, drifts = values.float().norm(dim=1).tolist(), drift(values, start).tolist()
        name = self._model.text_encoders[place].rules.name
        for index, norm in enumerate(norms):
            words = tuple((self._word(token), cosine) for token, cosine in
                          zip(ids[index].tolist(), cosines[index].tolist(), strict=True))
            yield VectorTold(embedding.placeholder, name, index + 1, norm, norm / self._medians[place], drifts[index], words,
                             not torch.equal(values[index].cpu(), start[index]))

    def _word(self, token: int) -> str:
        """``cat`` for a token that ends a word, ``ca-`` for one that others follow."""
        text = token_bytes(self._model.tokenizer, token).decode("utf-8", errors="replace")
        return text if token_name(self._model.tokenizer, token).endswith("</w>") else f"{text}-"
