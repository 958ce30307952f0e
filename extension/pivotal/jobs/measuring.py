"""Measures a run on the way: whether it still gets better on images that stay the same, and when that is enough."""

from __future__ import annotations

from collections.abc import Mapping

from pivotal.config.sections.measure import Measure
from pivotal.data.captions import Captions
from pivotal.events import Emit, Measured, Noticed
from pivotal.training.batch import Batches
from pivotal.training.measure import Measurement, denoising_errors
from pivotal.training.session import Session

_WORSE_IN_A_ROW = 3  # measurements after the best one, while the training loss falls: then the run learns by heart


class Measuring:
    """The measurements of one run.

    Args:
        batches: what is measured on; `captions` says which images these are.
        held_out: whether they are none of those that are trained on.
    """

    def __init__(self, session: Session, options: Measure, batches: Batches, captions: Captions, emit: Emit, *,
                 held_out: bool):
        self.session, self.options, self.batches, self.captions = session, options, batches, captions
        self.emit, self.held_out = emit, held_out
        self.images = min(options.images, len(captions.items))
        self._last: tuple[int, float] | None = None  # step and error of the latest measurement
        self._begin = float("inf")  # the error before the first step

    def due(self) -> bool:
        """Whether a measurement is asked for after the step that was just done."""
        step, every = self.session.progress.step, self.options.every_steps
        return bool(every) and (step % every == 0 or self.session.clock().ended)

    def before(self, known: float | None = None) -> float:
        """The error before the first step, or where the run goes on.

        Args:
            known: what it was, where it has been measured.
        """
        if known is not None:
            self._begin = known
            return known
        found = self._measure()
        self._begin = found.error
        self._tell(self.session.progress.step, found, False)
        return found.error

    def after_step(self) -> bool:
        """Measures the values that the parts have now; whether they are the best so far."""
        found, progress, best = self._measure(), self.session.progress, self.session.best
        self._last = progress.step, found.error
        is_best = best.take(progress.step, found.error, progress.smooth_loss)
        # The best of the run may be worse than none: that is nothing to be told as good.
        self._tell(progress.step, found, is_best and found.error < self._begin)
        if self.held_out and best.since == _WORSE_IN_A_ROW and progress.smooth_loss < best.loss:
            self.emit(Noticed(f"The error on held-out images has not fallen below that of step {best.step} ({best.error:.4g}, "
                              f"now {found.error:.4g}) while the training loss fell: the run begins to learn its images by "
                              "heart.", "measure.every_steps"))
        return is_best

    def after_run(self) -> float:
        """The error of the result, whose values the parts have now."""
        step, best = self.session.progress.step, self.session.best
        if self.options.restore_best and best.kept and best.error is not None:
            return best.error
        if self._last is not None and self._last[0] == step:
            return self._last[1]
        found = self._measure()
        self._tell(step, found, False)
        return found.error

    def is_enough(self) -> bool:
        """Whether there was no new best for as many measurements as the run has patience for."""
        patience = self.options.patience
        return patience is not None and self.session.best.since >= patience

    def _measure(self) -> Measurement:
        return denoising_errors(self.session, self.batches, self.images)

    def _tell(self, step: int, found: Measurement, is_best: bool) -> None:
        self.emit(Measured(step, found.error, {str(timestep): error for timestep, error in found.by_timestep.items()},
                           self._by_concept(found.by_item), self.held_out, is_best))

    def _by_concept(self, by_item: Mapping[int, float]) -> dict[str, float]:
        concepts: dict[int, list[float]] = {}
        for item, error in by_item.items():
            concepts.setdefault(self.captions.items[item].concept, []).append(error)
        if len(concepts) < 2:
            return {}
        return {self.captions.concepts[index].name or f"concept {index + 1}": sum(errors) / len(errors)
                for index, errors in sorted(concepts.items())}
