"""From a checked plan and a lent model to a session that can step."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from pivotal.config.train import TrainConfig
from pivotal.data.captions import Captions
from pivotal.data.inpainting import cache_inpainting
from pivotal.data.latents import cache_latents
from pivotal.errors import OptionError
from pivotal.events import Emit, Phase
from pivotal.jobs.batches import FolderBatches
from pivotal.jobs.checks import Plan
from pivotal.jobs.trainees import Trainees
from pivotal.models.checkpointing import checkpoint_model
from pivotal.models.diffusion import DiffusionModel
from pivotal.models.schedule import overridden
from pivotal.training.optimizers import make_steppers
from pivotal.training.precision import compute_dtype
from pivotal.training.session import Session, Settings


def make_batches(captions: Captions, config: TrainConfig, model: DiffusionModel, placeholders: Mapping[str, int], *,
                 emit: Emit, stopped: Callable[[], bool]) -> FolderBatches | None:
    """Batches over the images of `captions`, their latents cached; None when stopped meanwhile.

    Args:
        placeholders: placeholder -> number of vectors.
    """
    side = config.dataset.resolution or model.resolution
    paths = [item.path for item in captions.items]

    def progress(done: int, of: int) -> None:
        emit(Phase("caching", done, of))

    latents = cache_latents(model, paths, side, progress=progress, stopped=stopped)
    inpainting = None
    if latents is not None and model.is_inpainting:
        inpainting = cache_inpainting(model, paths, side, config.seed, progress=progress, stopped=stopped)
    if latents is None or (model.is_inpainting and inpainting is None):
        return None
    return FolderBatches(latents, captions, size=config.batch.size, side=side, seed=config.seed,
                         tokenizer=model.tokenizer, placeholders=placeholders, inpainting=inpainting)


def make_session(plan: Plan, model: DiffusionModel, trainees: Trainees, batches: FolderBatches) -> Session:
    """The session of `plan`, at its beginning or where it was left."""
    config = plan.config
    settings = Settings(config.seed, config.length.steps, config.batch.accumulation,
                        compute_dtype(config.precision.compute, model.device, model.dtype), config.loss, config.noise,
                        config.timesteps, config.optimizer.clip_norm, config.optimizer.ema_decay)
    session = Session(model, trainees.parts, batches, make_steppers(config.optimizer, trainees.parts), settings)
    if plan.state is not None:
        session.restore(plan.state.facts, plan.state.tensors)
    return session


def prepare_model(lent: DiffusionModel, config: TrainConfig) -> DiffusionModel:
    """The lent model with what the run asks of it; the host's `borrow` takes it back.

    Raises:
        OptionError: the checkpoint cannot be trained so.
    """
    objective = config.objective
    model = overridden(lent, prediction=None if objective.prediction == "auto" else objective.prediction,
                       zero_terminal_snr={"auto": None, "on": True, "off": False}[objective.zero_terminal_snr],
                       clip_skip=objective.clip_skip)
    if objective.zero_terminal_snr == "on" and model.prediction == "epsilon":
        raise OptionError({"objective.zero_terminal_snr": "this checkpoint predicts epsilon, which cannot be learned from "
                                                          "pure noise; take off or auto"})
    if config.precision.gradient_checkpointing:
        checkpoint_model(model)
    return model
