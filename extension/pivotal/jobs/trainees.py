"""What a run trains, made from a checked plan for a lent model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from pivotal.config.courses import parse_points, parse_rate_list
from pivotal.config.formula import Formula
from pivotal.config.sections.embedding import Embedding
from pivotal.config.sections.pace import Schedule as ScheduleOptions
from pivotal.config.train import TrainConfig
from pivotal.embeddings.initialize import initial_ids, initial_vectors, median_norm, vector_count
from pivotal.embeddings.trained import TrainedEmbedding
from pivotal.errors import FormatError, OptionError
from pivotal.formats.network_file import NetworkFile
from pivotal.jobs.continued import base_vectors, file_settings, give_file
from pivotal.models.diffusion import DiffusionModel
from pivotal.models.layers import TEXT, UNET
from pivotal.networks.choose import after_file, choose_layers
from pivotal.networks.network import Network
from pivotal.prompts.pieces import token_ids
from pivotal.training.part import Part, StopRule
from pivotal.training.schedules import Schedule
from pivotal.training.seeds import generator


@dataclass(frozen=True)
class Trainees:
    """Embeddings and networks of a run, and when and how fast each learns."""

    embeddings: tuple[TrainedEmbedding, ...]
    networks: tuple[Network, ...]
    parts: tuple[Part, ...]

    def vectors(self) -> dict[str, Sequence[Tensor]]:
        """Placeholder -> vectors."""
        return {name: values for embedding in self.embeddings for name, values in embedding.vectors().items()}

    def counts(self) -> dict[str, int]:
        """Placeholder -> number of vectors."""
        return {embedding.placeholder: len(embedding.values[0]) for embedding in self.embeddings}


class Attached:
    """Inside, the model answers with the networks; `lifted` takes them off for a while."""

    def __init__(self, networks: Sequence[Network]):
        self._networks, self._stack = networks, ExitStack()

    def __enter__(self) -> Attached:
        for network in self._networks:
            self._stack.enter_context(network.attached())
        return self

    def __exit__(self, *_error: object) -> None:
        self._stack.close()

    @contextmanager
    def lifted(self) -> Iterator[None]:
        """While it lasts, the model answers as its host's."""
        self._stack.close()
        try:
            yield
        finally:
            self.__enter__()


def make_trainees(config: TrainConfig, base: NetworkFile | None, model: DiffusionModel) -> Trainees:
    """Everything that `config` trains, at its start.

    Args:
        base: the network file that is continued.

    Raises:
        OptionError: a file does not fit the checkpoint, or nothing is left to train.
    """
    embeddings = tuple(make_embedding(row, index, config, model) for index, row in enumerate(config.embeddings))
    networks = make_networks(config, base, model)
    parts = [_embedding_part(row, embedding, config) for row, embedding in zip(config.embeddings, embeddings, strict=True)]
    parts += [_network_part(network, config) for network in networks]
    return Trainees(embeddings, networks, tuple(parts))


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
        star = token_ids(model.tokenizer, "*")[0]
        ids = initial_ids(token_ids(model.tokenizer, row.initial_text), count, row.fill, star)
        initial = tuple(initial_vectors(table, ids, generator(config.seed, f"initial/{row.placeholder}", place))
                        for place, table in enumerate(tables))
    norms = [median_norm(table) for table in tables] if row.preserve_norm else None
    return TrainedEmbedding(row.placeholder, initial, norms=norms).to(model.device)


def _from_file(row: Embedding, index: int, model: DiffusionModel) -> tuple[Tensor, ...]:
    key, path = f"embeddings.{index}.base_embedding", Path(row.base_embedding).expanduser()
    try:
        vectors = base_vectors(row, len(model.text_encoders))
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


def make_networks(config: TrainConfig, base: NetworkFile | None, model: DiffusionModel) -> tuple[Network, ...]:
    """The networks of the UNet and the text encoders, at their start.

    Raises:
        OptionError: a list of blocks or the continued file does not fit.
    """
    if config.network.method == "none":
        return ()
    chosen = choose_layers(model, config.network, config.targets, config.blocks)
    if base is not None and config.network.rank_from_file:
        chosen = after_file(chosen, file_settings(base, model))
    networks = tuple(
        Network(part, config.network.method, layers, generator(config.seed, f"network/{part}"),
                plus_ratio=config.network.plus_ratio, norm_limit=config.network.norm_limit)
        for part, layers in chosen.items())
    if base is not None:
        give_file(networks, base, model)
    if config.precision.weights == "bf16":
        for network in networks:
            network.narrow()
    return networks


def span_of(config: TrainConfig, first: str) -> tuple[int, int | None]:
    """From which step to which something learns that comes `first` ("embeddings first", or "network first")."""
    order, pivot = config.pivot.order, config.pivot_step
    if order == "together" or config.network.method == "none":
        return 0, None
    return (0, pivot) if order == first else (pivot, None)


def schedule_of(options: ScheduleOptions, own: str, rates: str) -> Schedule:
    """The schedule of something that learns.

    Args:
        own: its own kind, or "as the run".
        rates: its own rate list; "" takes the run's.
    """
    kind = options.kind if own == "as the run" else own
    return Schedule(kind, options.warmup, options.minimum, options.cycles, options.power,
                    rates=parse_rate_list(rates.strip() or options.rates) if kind == "rate list" else None,
                    points=parse_points(options.points) if kind == "points" else None,
                    formula=Formula(options.formula) if kind == "formula" else None)


def _embedding_part(row: Embedding, embedding: TrainedEmbedding, config: TrainConfig) -> Part:
    first, last = span_of(config, "embeddings first")
    rate = config.optimizer.learning_rate if row.learning_rate is None else row.learning_rate
    return Part(embedding, rate, learns=row.train, first=first, last=last, stop=StopRule(row.stop_after, row.stop_unit),
                schedule=schedule_of(config.schedule, row.schedule, row.rates), decays=config.optimizer.decay_embeddings)


def _network_part(network: Network, config: TrainConfig) -> Part:
    targets = config.targets
    rate = {UNET: targets.learning_rate, TEXT[0]: targets.text_encoder_1_rate, TEXT[1]: targets.text_encoder_2_rate}
    stop = (StopRule(targets.stop_after, targets.stop_unit) if network.name == UNET
            else StopRule(targets.text_encoder_stop_after, targets.text_encoder_stop_unit))
    first, last = span_of(config, "network first")
    return Part(network, rate[network.name], first=first, last=last, stop=stop,
                schedule=schedule_of(config.schedule, targets.schedule, targets.rates))
