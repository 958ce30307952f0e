"""What is wrong, or unusual, with the courses of the learning rates."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pivotal.config.courses import parse_points, parse_rate_list
from pivotal.config.formula import Formula

if TYPE_CHECKING:
    from pivotal.config.train import TrainConfig

_TEXTS = {"rate list": "rates", "points": "points", "formula": "formula"}


def kinds_of(config: TrainConfig) -> dict[str, str]:
    """The course of everything that learns, by the key that sets it."""
    kinds = {f"embeddings.{index}.schedule": row.schedule for index, row in enumerate(config.embeddings) if row.train}
    if config.network.method != "none":
        kinds["targets.schedule"] = config.targets.schedule
    own = {key: kind for key, kind in kinds.items() if kind != "as the run"}
    return own if len(own) == len(kinds) else own | {"schedule.kind": config.schedule.kind}


def schedule_problems(config: TrainConfig, steps: int | None = None) -> dict[str, str]:
    """Problems by key.

    Args:
        steps: of the run, once they are counted; None leaves out what depends on them where they are not given.
    """
    found: dict[str, str] = {}
    if steps is None and config.length.epochs is None and config.length.images is None:
        steps = config.length.steps
    for kind in set(kinds_of(config).values()) & {"points", "formula"}:
        _try(f"schedule.{_TEXTS[kind]}", kind, getattr(config.schedule, _TEXTS[kind]), steps, found)
    for key, text in _rate_lists(config).items():
        _try(key, "rate list", text, steps, found)
    if config.length.minutes is not None and config.schedule.warmup >= 1:
        found["schedule.warmup"] = "with a time limit nobody knows the steps; give a fraction of the run, below 1"
    return found


def _rate_lists(config: TrainConfig) -> dict[str, str]:
    """The rate lists that are used, by key."""
    lists = {}
    sections = [(f"embeddings.{index}", row) for index, row in enumerate(config.embeddings) if row.train]
    if config.network.method != "none":
        sections.append(("targets", config.targets))
    for key, section in sections:
        kind = config.schedule.kind if section.schedule == "as the run" else section.schedule
        if kind == "rate list":
            own = section.rates.strip()
            lists[f"{key}.rates" if own else "schedule.rates"] = own or config.schedule.rates
    return lists


def _try(key: str, kind: str, text: str, steps: int | None, found: dict[str, str]) -> None:
    try:
        if not text.strip():
            raise ValueError(f"the schedule {kind!r} needs it")
        if kind == "rate list":
            parse_rate_list(text)
        else:
            course = parse_points(text) if kind == "points" else Formula(text)
            if steps is not None:
                course.check(steps)
    except ValueError as error:
        found[key] = str(error)


def schedule_notices(config: TrainConfig) -> dict[str, str]:
    """What is allowed and perhaps not meant, by key."""
    found = {}
    if list(_rate_lists(config)) == ["schedule.rates"] and config.network.method != "none" and any(
            row.train for row in config.embeddings):
        found["schedule.rates"] = ("Embeddings and the network learn with the same rates of the list, though networks usually "
                                   "take a hundredth; each can have a list of its own.")
    if config.length.minutes is not None and set(kinds_of(config).values()) & set(_TEXTS):
        found["length.minutes"] = (f"Schedules follow the clock where it ends the run before step {config.length.steps}: a step "
                                   "that they name then stands for the same share of the time.")
    if "schedule.kind" in kinds_of(config) and config.schedule.minimum == 1 and config.schedule.kind != "constant":
        found["schedule.minimum"] = "A lowest factor of 1 leaves the rate constant."
    return found
