"""Going on from a network file: what it is, whether it fits, and its values given to new networks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from pivotal.config.sections.embedding import Embedding
from pivotal.config.train import TrainConfig
from pivotal.errors import FormatError, OptionError
from pivotal.formats.embedding_file import bundled_words, read_embedding
from pivotal.formats.network_file import NetworkFile, family_of_network, read_network
from pivotal.models.diffusion import DiffusionModel
from pivotal.models.families import FAMILIES
from pivotal.models.layers import by_key
from pivotal.networks.methods import method_of, settings_of
from pivotal.networks.network import Network
from pivotal.networks.settings import LayerSettings
from pivotal.prompts.placeholders import safe_file_name

KEY = "network.base_file"
SHOWN = 3


def read_base(config: TrainConfig, family: str | None) -> NetworkFile | None:
    """The network file that `config` continues; None when it continues none.

    Args:
        family: of the checkpoint, where it is known.

    Raises:
        OptionError: it is not there, no network, of another method or of another family.
    """
    if config.network.method == "none" or not config.network.base_file.strip():
        return None
    path = Path(config.network.base_file).expanduser()
    if not path.is_file():
        raise OptionError({KEY: f"{path} does not exist."})
    try:
        file = read_network(path)
    except FormatError as error:
        raise OptionError({KEY: str(error)}) from error
    theirs = family_of_network(file)
    if family in FAMILIES and theirs is not None and theirs != family:
        raise OptionError({KEY: f"{path.name} is a network for {FAMILIES[theirs].title}; the checkpoint is "
                                f"{FAMILIES[family].title}."})
    _check_method(path, file, config)
    return file


def _check_method(path: Path, file: NetworkFile, config: TrainConfig) -> None:
    methods = {method for parts in file.layers.values() if (method := method_of(parts)) not in (None, "norm")}
    wanted = "lora" if config.network.method == "dylora" else config.network.method  # DyLoRA is written as LoRA
    if methods - {wanted}:
        raise OptionError({"network.method": f"{path.name} holds {' and '.join(sorted(methods))}; choose that, or another "
                                             "file to continue from."})
    dora = any("dora_scale" in parts for parts in file.layers.values())
    if dora != config.network.dora and methods:
        raise OptionError({"network.dora": f"{path.name} was trained {'with' if dora else 'without'} DoRA; switch it "
                                           f"{'on' if dora else 'off'}."})


def with_bundled(config: TrainConfig, file: NetworkFile | None) -> TrainConfig:
    """`config` with the file's embeddings: rows of the same word continue them, the others are carried along untrained."""
    if file is None or not file.embeddings:
        return config
    rows = []
    left = dict.fromkeys(file.embeddings)
    for row in config.embeddings:
        word = next((name for name in left if name in (row.placeholder, safe_file_name(row.placeholder))), None)
        if word is not None:
            del left[word]
            if not row.base_embedding:
                row = replace(row, base_embedding=config.network.base_file, token_count=None)
        rows.append(row)
    rows += [Embedding(placeholder=word, base_embedding=config.network.base_file, train=False) for word in left]
    return replace(config, embeddings=tuple(rows))


def base_vectors(row: Embedding, encoders: int) -> tuple[Tensor, ...]:
    """The vectors of a row's base embedding: an embedding's file, or a network's that bundles one of that word, or only one.

    Raises:
        FormatError: it is neither, is damaged, or is for another number of text encoders.
    """
    path = Path(row.base_embedding).expanduser()
    word = next((name for name in bundled_words(path) if name in (row.placeholder, safe_file_name(row.placeholder))), None)
    return read_embedding(path, encoders, word)


def file_settings(file: NetworkFile, model: DiffusionModel) -> dict[str, LayerSettings]:
    """Rank and alpha of the file's layers, by the keys of `models.layers`."""
    return {key: settings_of(method, parts) for key, parts in _resolved(file, model).items() if (method := method_of(parts))}


def give_file(networks: Sequence[Network], file: NetworkFile, model: DiffusionModel) -> None:
    """Gives `networks` the values of `file`.

    Raises:
        OptionError: the file holds what no network of this run takes, or of another size.
    """
    parts = _resolved(file, model)
    ours = {key for network in networks for key in network.adapters}
    lost = sorted(set(parts) - ours)
    if lost:
        raise OptionError({KEY: f"{len(lost)} of the file's {len(file.layers)} layers would be lost, as this run trains no "
                                f"network on them ({', '.join(lost[:SHOWN])}); train the same parts, layers and convolutions."})
    try:
        for network in networks:
            network.load_file({key: values for key, values in parts.items() if key in network.adapters})
    except FormatError as error:
        hint = "" if "rank" not in str(error) else " Switch Rank from the file on, or set the file's rank and alpha."
        raise OptionError({KEY: f"{error}{hint}"}) from error


def _resolved(file: NetworkFile, model: DiffusionModel) -> Mapping[str, Mapping[str, Tensor]]:
    known = by_key(model)
    unknown = sorted(key for key in file.layers if key not in known)
    if unknown:
        raise OptionError({KEY: f"{len(unknown)} of the file's {len(file.layers)} layers do not fit this checkpoint "
                                f"({', '.join(unknown[:SHOWN])})."})
    return {known[key].key: parts for key, parts in file.layers.items()}
