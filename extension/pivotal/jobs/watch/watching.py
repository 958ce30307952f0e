"""Listens to a run and says what looks wrong, each thing once and under the key of the option that mends it."""

from __future__ import annotations

from collections.abc import Sequence

from pivotal.config.sections.embedding import Embedding
from pivotal.events import Emit, Event, Noticed, Planned, StepDone, VectorsTold, VectorTold

GROWN = 3.0
"""Times the median norm of the encoder's own tokens. From there on, an embedding drowns the words beside it: attention sees
it far stronger than any word that the encoder was trained with, whose norms all lie near their median."""
_STILL = 20  # steps without any learning rate, or without a change, that are no chance


class Watching:
    """An `emit` that adds notices.

    Args:
        rows: the run's embeddings.
    """

    def __init__(self, emit: Emit, rows: Sequence[Embedding]):
        self._emit = emit
        self._keys = {row.placeholder: f"embeddings.{index}" for index, row in enumerate(rows)}
        self._said: set[tuple[str, str]] = set()
        self._epoch = float(_STILL)  # steps
        self._without_rate = 0
        self._rates: dict[str, float] = {}

    def __call__(self, event: Event) -> None:
        """Passes `event` on, and what it gives reason to say."""
        self._emit(event)
        if isinstance(event, Planned):
            self._epoch = max(event.batches_per_epoch / event.accumulation, _STILL)
        elif isinstance(event, StepDone):
            self._after_step(event)
        elif isinstance(event, VectorsTold):
            for placeholder in dict.fromkeys(vector.placeholder for vector in event.vectors):
                self._look(event.step, placeholder, [one for one in event.vectors if one.placeholder == placeholder])

    def _after_step(self, event: StepDone) -> None:
        self._rates = dict(event.rates)
        self._without_rate = 0 if any(event.rates.values()) else self._without_rate + 1
        if self._without_rate == _STILL:
            self._say("rate", "", f"Every learning rate has been 0 for {_STILL} steps, so nothing is learned in them.",
                      "optimizer.learning_rate")

    def _look(self, step: int, placeholder: str, vectors: Sequence[VectorTold]) -> None:
        key = self._keys.get(placeholder, "embeddings")
        longest = max(vectors, key=lambda vector: vector.relative)
        if longest.relative > GROWN:
            self._say("norm", placeholder, f"{placeholder!r} has grown to {longest.relative:.1f} times the length of an ordinary "
                      f"token (step {step}); it will drown the words beside it. Keep the norm, or take a lower learning rate.",
                      f"{key}.preserve_norm")
        if step >= self._epoch and self._rates.get(placeholder) and not any(vector.moved for vector in vectors):
            self._say("still", placeholder, f"{placeholder!r} has not changed in {step} steps: no caption with it was seen yet, "
                      "or its gradient is zero.", f"{key}.placeholder")

    def _say(self, what: str, about: str, text: str, key: str) -> None:
        if (what, about) not in self._said:
            self._said.add((what, about))
            self._emit(Noticed(text, key))
