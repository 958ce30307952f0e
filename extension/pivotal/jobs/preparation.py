"""From a checked plan and a lent model to a session that can step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from pivotal.config.sections.embedding import Embedding
from pivotal.config.train import TrainConfig
from pivotal.data.captions import Captions
from pivotal.data.latents import cache_latents
from pivotal.embeddings.initialize import initial_ids, initial_vectors, median_norm, text_ids, vector_count
from pivotal.embeddings.trained import StopRule, TrainedEmbedding
from pivotal.errors import FormatError, OptionError
from pivotal.events import Emit, Phase
from pivotal.formats.embedding_file import read_embedding
from pivotal.jobs.batches import FolderBatches
from pivotal.jobs.checks import Plan
from pivotal.models.diffusion import DiffusionModel
from pivotal.training.optimizers import make_optimizer
from pivotal.training.precision import compute_dtype
from pivotal.training.seeds import generator
from pivotal.training.session import Session, Settings


def make_embedding(row: Embedding, index: int, config: TrainConfig, model: DiffusionModel) -> TrainedEmbedding:
    """The embedding of a row, at its start.

    Raises:
        OptionError: its base embedding does not fit the checkpoint.
    """
    tables = [encoder.table.weight for encoder in model.text_encoders]
    if row.base_embedding:
        initial = _from_file(row, index, model)
    else:
        count = vector_count(model.tokenizer, row.initial_text, row.token_count)
        star = text_ids(model.tokenizer, "*")[0]
        ids = initial_ids(text_ids(model.tokenizer, row.initial_text), count, row.fill, star)
        initial = tuple(initial_vectors(table, ids, generator(config.seed, f"initial/{row.placeholder}", place))
                        for place, table in enumerate(tables))
    rate = config.optimizer.learning_rate if row.learning_rate is None else row.learning_rate
    norms = [median_norm(table) for table in tables] if row.preserve_norm else None
    embedding = TrainedEmbedding(row.placeholder, initial, rate=rate, train=row.train,
                                 stop=StopRule(row.stop_after, row.stop_unit), norms=norms)
    return embedding.to(model.device)


def _from_file(row: Embedding, index: int, model: DiffusionModel) -> tuple:
    key, path = f"embeddings.{index}.base_embedding", Path(row.base_embedding).expanduser()
    try:
        vectors = read_embedding(path, len(model.text_encoders))
    except FormatError as error:
        raise OptionError({key: str(error)}) from error
    for tensor, width in zip(vectors, model.widths, strict=True):
        if tensor.shape[1] != width:
            raise OptionError({key: f"{path.name} has vectors of width {tensor.shape[1]}; this checkpoint "
                                    f"({model.family.title}) needs {width}."})
    if row.token_count is not None and row.token_count != len(vectors[0]):
        raise OptionError({f"embeddings.{index}.token_count": f"{path.name} has {len(vectors[0])} vectors, not "
                                                              f"{row.token_count}; leave the token count empty."})
    return vectors


def make_batches(captions: Captions, config: TrainConfig, model: DiffusionModel, placeholders: dict[str, int], *,
                 size: int, emit: Emit, stopped: Callable[[], bool]) -> FolderBatches | None:
    """Batches over the images of `captions`, their latents cached; None when stopped meanwhile."""
    side = config.dataset.resolution or model.resolution
    latents = cache_latents(model, [item.path for item in captions.items], side,
                            progress=lambda done, of: emit(Phase("caching", done, of)), stopped=stopped)
    if latents is None:
        return None
    return FolderBatches(latents, captions, size=size, side=side, seed=config.seed, tokenizer=model.tokenizer,
                         placeholders=placeholders)


def make_session(plan: Plan, model: DiffusionModel, embeddings: Sequence[TrainedEmbedding],
                 batches: FolderBatches) -> Session:
    """The session of `plan`, at its beginning or where it was left."""
    config = plan.config
    settings = Settings(config.seed, config.batch.accumulation, config.objective.clip_skip,
                        compute_dtype(config.precision.compute, model.device, model.dtype))
    session = Session(model, embeddings, batches, make_optimizer(config.optimizer, embeddings), settings)
    if plan.state is not None:
        session.restore(plan.state.facts, plan.state.tensors)
    return session


def prepare_model(model: DiffusionModel, config: TrainConfig) -> DiffusionModel:
    """Sets what the run asks of the lent model; the host's `borrow` takes it back."""
    if config.precision.gradient_checkpointing:
        model.unet.enable_gradient_checkpointing()
        model.unet.train()  # diffusers checkpoints only in training mode; these networks have no dropout to switch on
        for encoder in model.text_encoders:
            encoder.module.gradient_checkpointing_enable()
            encoder.module.train()
    return model
