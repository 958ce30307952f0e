"""What outlives a pause of a run, while its host has the device for itself."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

from pivotal.config.train import TrainConfig
from pivotal.data.latent_cache import Memory
from pivotal.formats.state_file import State
from pivotal.hosts.protocol import Host
from pivotal.jobs.resuming import plain_options
from pivotal.training.session import Session


@dataclass
class Kept:
    """All of it lies in the machine's memory, and nothing on the device."""

    state: State | None = None  # of the last pause; None while no step could be taken
    step: int = 0
    images: Memory = field(default_factory=Memory)  # encoded, where they are cached in memory
    held_out: Memory = field(default_factory=Memory)
    error_before: float | None = None
    preview: Path | None = None
    checkpoint: str = ""  # on which the run has begun
    pauses: int = 0
    seconds: float = 0.0  # spent in pauses

    def take(self, state: State, step: int, preview: Path | None) -> None:
        """Before the model is given back."""
        self.state, self.step, self.preview = state, step, preview

    def checkpoint_for(self, config: TrainConfig, host: Host) -> str:
        """What to borrow: after a pause, the host may have another checkpoint loaded than that on which the run has begun."""
        if config.checkpoint or not self.checkpoint:
            return config.checkpoint
        loaded = host.checkpoint()
        return "" if loaded is not None and loaded.name == self.checkpoint else self.checkpoint


def state_of(session: Session, config: TrainConfig) -> State:
    """What resuming needs, as a file of it would give it back."""
    facts, tensors = session.state()
    plain = json.loads(json.dumps(facts | {"config": plain_options(config)}))
    return State(plain, {name: tensor.detach().cpu().clone() for name, tensor in tensors.items()})
