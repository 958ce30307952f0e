"""What is wrong, or unusual, between the options of a run: one file for each kind."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pivotal.config.rules.data import data_notices, data_problems
from pivotal.config.rules.embeddings import embedding_problems
from pivotal.config.rules.images import image_notices, image_problems
from pivotal.config.rules.network import network_notices, network_problems
from pivotal.config.rules.objective import objective_notices, objective_problems
from pivotal.config.rules.optimizer import optimizer_notices, optimizer_problems
from pivotal.config.rules.schedule import schedule_notices, schedule_problems
from pivotal.config.rules.stops import length_problems

if TYPE_CHECKING:
    from pivotal.config.train import TrainConfig

_PROBLEMS = (data_problems, image_problems, embedding_problems, network_problems, optimizer_problems, schedule_problems,
             objective_problems, length_problems)
_NOTICES = (data_notices, image_notices, network_notices, objective_notices, optimizer_notices, schedule_notices)


def problems_between(config: TrainConfig) -> dict[str, str]:
    """What must be mended before the run can begin, by key."""
    found = {key: text for rule in _PROBLEMS for key, text in rule(config).items()}
    if not config.name.strip():
        found["name"] = "needs a name; it becomes the run's folder"
    return found


def notices_between(config: TrainConfig) -> dict[str, str]:
    """What is allowed and perhaps not meant, by key."""
    return {key: text for rule in _NOTICES for key, text in rule(config).items()}
