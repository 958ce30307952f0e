"""What can be known to be wrong with a run's network, or unusual about it."""

from __future__ import annotations

from pivotal.config.rules import notices_between
from pivotal.config.sections.network import Network
from pivotal.config.train import TrainConfig
from pivotal.errors import OptionError
from pivotal.formats.network_file import NetworkFile
from pivotal.hosts.protocol import Host
from pivotal.jobs.checks.problems import Problems, family_of
from pivotal.jobs.continued import KEY, read_base
from pivotal.jobs.paths import network_path
from pivotal.networks.choose import block_problems
from pivotal.networks.methods import rank_problem, supports
from pivotal.networks.settings import LayerSettings

# What some methods have no place for; one that is set all the same is told of, not ignored in silence.
SOME_METHODS = ("rank_stabilized", "dropout", "rank_dropout", "factor", "constraint", "norm_limit", "plus_ratio")


def continued_file(config: TrainConfig, host: Host, found: Problems) -> NetworkFile | None:
    """The network file that is continued; None when there is none, or it cannot be."""
    try:
        return read_base(config, family_of(config, host))
    except OptionError as error:
        found.add_all(error.problems)
    return None


def check_network(config: TrainConfig, host: Host, found: Problems) -> None:
    """Adds what is wrong with sizes, parts, blocks and the file to be written."""
    if config.network.method == "none":
        return
    settings = LayerSettings(config.network.rank, config.network.alpha, unit=config.network.unit)
    problem = rank_problem(config.network.method, settings)
    if problem and not config.network.rank_from_file:
        found.add("network.rank", problem)
    loaded, family = host.checkpoint(), family_of(config, host)
    if config.targets.text_encoder_2 and family not in (None, "sdxl"):
        found.add("targets.text_encoder_2", f"{loaded.name} has one text encoder; only SDXL has a second.")
    if family is not None and loaded.blocks:
        found.add_all(block_problems(config.blocks, loaded.blocks))
    path = network_path(host.folders(), config.name)
    if config.save.existing == "refuse" and path.exists():
        found.add("name", f"{path} exists; choose another name, or let the older file be replaced.")


def network_notices(config: TrainConfig, base: NetworkFile | None, host: Host) -> dict[str, str]:
    """What is allowed and perhaps not meant, by key."""
    found = notices_between(config) | _unread_here(config, host)
    if config.network.method != "none":
        found |= {f"network.{name}": f"{config.network.method} has no {name.replace('_', ' ')}; the option does nothing."
                  for name in SOME_METHODS if getattr(config.network, name) != getattr(Network(), name)
                  and not supports(config.network.method, name)}
    if base is not None and base.others:
        found[KEY] = (f"{len(base.others)} tensors of the continued file are unknown and will not be in the new one "
                      f"({', '.join(base.others[:3])}).")
    return found


def _unread_here(config: TrainConfig, host: Host) -> dict[str, str]:
    """What the host's own prompts will not use; other programs may."""
    if config.network.method == "none":
        return {}
    found, reader = {}, host.network_reader
    if config.network.method in reader.unread:
        found["network.method"] = f"{reader.unread[config.network.method]}. Other programs may read the file."
    words = sum(row.train for row in config.embeddings) if config.save.bundle else 0
    tensors = words * (2 if family_of(config, host) == "sdxl" else 1)
    if reader.most_bundled is not None and tensors > reader.most_bundled:
        found["save.bundle"] = (f"{words} embeddings are {tensors} tensors in the network's file, and this host refuses a file "
                                f"with more than {reader.most_bundled}. Turn it off: they get files of their own then.")
    return found
