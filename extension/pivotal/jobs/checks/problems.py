"""What is wrong with a run, gathered before it begins."""

from __future__ import annotations

from collections.abc import Mapping

from pivotal.config.train import TrainConfig
from pivotal.hosts.protocol import Host
from pivotal.models.families import FAMILIES


class Problems:
    """Sentences by key; the first of a key counts."""

    def __init__(self, problems: Mapping[str, str]):
        self.by_key = dict(problems)

    def add(self, key: str, text: str) -> None:
        """Adds a sentence to a key that has none."""
        self.by_key.setdefault(key, text)

    def add_all(self, problems: Mapping[str, str]) -> None:
        """Adds each."""
        for key, text in problems.items():
            self.add(key, text)


def family_of(config: TrainConfig, host: Host) -> str | None:
    """Of the checkpoint that will be trained on; None where it is not known before it is loaded, or is none of ours."""
    loaded = host.checkpoint()
    is_told = loaded is not None and config.checkpoint in ("", loaded.name) and loaded.family in FAMILIES
    return loaded.family if is_told else None
