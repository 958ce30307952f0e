"""What is wrong between the options of prediction, noise, loss and what is measured and drawn."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, get_args

from pivotal.config.sample_lines import sample_lines
from pivotal.config.sections.loss import LossKind
from pivotal.config.texts import parse_mixture, parse_points

if TYPE_CHECKING:
    from pivotal.config.sections.loss import Timesteps
    from pivotal.config.train import TrainConfig

_HEAVIEST_TAIL = 2 / (math.pi - 2)  # beyond, the map from even places turns back (arXiv:2403.03206, 3.1)


def objective_problems(config: TrainConfig) -> dict[str, str]:
    """Problems by key."""
    found = _timestep_problems(config.timesteps)
    if config.objective.zero_terminal_snr == "on" and config.objective.prediction == "epsilon":
        found["objective.zero_terminal_snr"] = "pure noise says nothing of itself: predicting epsilon cannot learn from it"
    if config.loss.v_like and config.objective.prediction == "v":
        found["loss.v_like"] = "is for models that predict noise; this run predicts velocity"
    if config.loss.scale_v and config.objective.prediction == "epsilon":
        found["loss.scale_v"] = "is for models that predict velocity; this run predicts noise"
    if config.noise.offset_by_timestep and not config.noise.offset:
        found["noise.offset_by_timestep"] = "needs a noise offset above 0"
    texts: dict[str, Callable[[], Any]] = {
        "loss.mix": lambda: parse_mixture(config.loss.mix, get_args(LossKind)),
        "loss.by_timestep": lambda: _some_weight(config.loss.by_timestep),
        "samples.prompts": lambda: sample_lines(config.samples.prompts)}
    for key, read in texts.items():
        try:
            read()
        except ValueError as error:
            found[key] = str(error)
    return found | _measure_problems(config)


def _some_weight(text: str) -> None:
    points = parse_points(text, 1000)
    if points and not any(weight for _, weight in points):
        raise ValueError("needs a weight above 0 somewhere")


def _timestep_problems(timesteps: Timesteps) -> dict[str, str]:
    found = {}
    if timesteps.minimum >= timesteps.maximum:
        found["timesteps.maximum"] = f"must be more than the first timestep, {timesteps.minimum}"
    if timesteps.distribution == "heavy tail" and not -1 <= timesteps.strength <= _HEAVIEST_TAIL:
        found["timesteps.strength"] = f"expected -1 to {_HEAVIEST_TAIL:.2f} for a heavy tail, got {timesteps.strength:g}"
    if timesteps.distribution == "inverted parabola":
        nearest = max(abs(timesteps.bias) - 0.5, 0.0)
        if 2 - timesteps.strength * nearest**2 <= 0:
            found["timesteps.bias"] = "moves the parabola out of the range, so that no timestep is left; take one nearer to 0"
    return found


def _measure_problems(config: TrainConfig) -> dict[str, str]:
    """Of what needs measurements on the way: nothing may be asked for that cannot happen."""
    measure, found = config.measure, {}
    wanted = {"measure.patience": measure.patience is not None, "measure.restore_best": measure.restore_best,
              "save.best": config.save.best}
    if measure.every_steps and measure.images:
        return {}
    for key, is_wanted in wanted.items():
        if is_wanted:
            found[key] = "needs measurements on the way: set Measure every, and some images to measure"
    if measure.share and not measure.images:
        found["measure.share"] = "holds images back that nothing measures: set Measured images, or 0 here"
    if measure.every_steps and not measure.images:
        found["measure.images"] = "must be at least 1 where the run is measured on the way"
    return found


def objective_notices(config: TrainConfig) -> dict[str, str]:
    """What is allowed and perhaps not meant, by key."""
    found = {}
    if config.mask.source != "off" and config.mask.unmasked_probability == 1:
        found["mask.unmasked_probability"] = "1 means that every step learns the whole image; the masks have no effect."
    if config.loss.mix and config.loss.kind != "mse":
        found["loss.mix"] = f"The mixture is used, and the loss {config.loss.kind} only where it stands in it."
    return found
