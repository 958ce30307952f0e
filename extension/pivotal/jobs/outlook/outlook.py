"""All that is told of a run before it starts: what it sees, what it needs, and what would need less."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from pivotal.config.train import TrainConfig
from pivotal.events import Planned
from pivotal.hosts.protocol import Host
from pivotal.jobs.checks.images import image_notices
from pivotal.jobs.checks.plan import Plan, make_plan, planned_run
from pivotal.jobs.dataset_plan import usual_resolution
from pivotal.jobs.memory import remedies
from pivotal.jobs.outlook.captions import ShownCaption, first_captions
from pivotal.jobs.outlook.estimate import Disk, Memory, disk, memory
from pivotal.jobs.outlook.probe import Probed, probe, speed_key
from pivotal.jobs.outlook.time_needed import Times, times

MOST_REMEMBERED = 32  # measurements


@dataclass(frozen=True)
class Offer:
    """Options with other values, by which a run would need less memory."""

    values: Mapping[str, Any]
    why: str  # what it costs, or what it is for
    saves: int  # bytes, as estimated; 0 where the estimate does not tell


@dataclass(frozen=True)
class Outlook:
    """A checked run, seen from before its start."""

    planned: Planned
    notices: Mapping[str, str]
    captions: Sequence[ShownCaption]
    memory: Memory
    disk: Disk
    offers: Sequence[Offer]
    free: int | None  # bytes on the graphics card now; None without one
    probed: Probed | None  # None until it is measured
    times: Times | None


class Outlooks:
    """Looks ahead, and remembers what was measured: the same steps cost the same in a run of another length.

    Args:
        occupy: keeps runs out while something is measured; what it returns lets them in again.
    """

    def __init__(self, host: Host, occupy: Callable[[str], Callable[[], None]]):
        self.host, self._occupy = host, occupy
        self._known: dict[Any, Probed] = {}

    def ahead(self, flat: Mapping[str, Any]) -> Outlook:
        """Checks a run and looks ahead; nothing is loaded.

        Raises:
            OptionError: with every problem by key.
        """
        plan = make_plan(flat, self.host)
        return look_ahead(plan, self.host, self._known.get(self._key(plan)))

    def measured(self, flat: Mapping[str, Any]) -> Outlook:
        """As `ahead`, after a few steps on the host's model, which is as before.

        Raises:
            OptionError: with every problem by key.
            PivotalError: a run is going on that is not paused.
        """
        plan = make_plan(flat, self.host)
        vacate = self._occupy("A measurement")
        try:
            found = probe(plan, self.host)
        finally:
            vacate()
        while len(self._known) >= MOST_REMEMBERED:
            del self._known[next(iter(self._known))]
        self._known[self._key(plan)] = found
        return look_ahead(plan, self.host, found)

    def _key(self, plan: Plan) -> tuple[Any, ...]:
        loaded = self.host.checkpoint()
        return speed_key(plan.config), loaded and loaded.name


def look_ahead(plan: Plan, host: Host, probed: Probed | None = None) -> Outlook:
    """The outlook of a checked plan.

    Args:
        probed: what was measured of it.
    """
    usual = usual_resolution(plan.config, host)
    notices = {**plan.notices, **image_notices(plan.config, plan.captions, usual)}
    found = times(plan, probed, usual) if probed is not None and probed.fits else None
    free = torch.cuda.mem_get_info()[0] if torch.cuda.is_available() else None
    return Outlook(planned_run(plan, host), notices, first_captions(plan, host), memory(plan, host), disk(plan, host),
                   tuple(offers(plan, host)), free, probed, found)


def offers(plan: Plan, host: Host) -> Iterator[Offer]:
    """What would need less memory on the device, each with what the estimate says of it."""
    found = memory(plan, host)
    for values, why in _changes(plan.config, usual_resolution(plan.config, host)):
        saved = found.total - memory(_with(plan, values), host).total if found.is_known else 0
        yield Offer(values, why, max(0, saved))


def _changes(config: TrainConfig, usual: int) -> Iterator[tuple[dict[str, Any], str]]:
    smaller: dict[str, Any] = {}
    for remedy in remedies(config, usual):
        if remedy.key == "batch.size":  # comes with its accumulation
            smaller[remedy.key] = remedy.value
        elif remedy.key == "batch.accumulation":
            yield {**smaller, remedy.key: remedy.value}, "each update still sees as many images; slower"
        else:
            yield {remedy.key: remedy.value}, remedy.why.removeprefix("and is ").removeprefix("and ")
    if config.network.method != "none" and config.cache.text != "auto" and not any(row.train for row in config.embeddings):
        yield {"cache.text": "auto"}, "keeps what the text encoders answer"


def _with(plan: Plan, values: Mapping[str, Any]) -> Plan:
    """`plan` with some options changed; only for estimates."""
    config = plan.config
    for key, value in values.items():
        section, _, name = key.partition(".")
        config = replace(config, **{section: replace(getattr(config, section), **{name: value})})
    return replace(plan, config=config)
