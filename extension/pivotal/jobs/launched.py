"""A run on the processes that a launcher started: `torch.distributed.run`, or `accelerate launch`.

Never in a WebUI's process: its torch.distributed is not ours.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import torch
from torch import distributed

from pivotal.errors import OptionError, PivotalError
from pivotal.hosts.elsewhere import Elsewhere
from pivotal.hosts.protocol import Host
from pivotal.jobs.checks.plan import Plan
from pivotal.training.ranks import Alone, Ranks, Together

PATIENCE = timedelta(hours=2)  # that others wait while the first process draws samples or writes


def launched_device() -> str | None:
    """The card that the launcher gave this process; None leaves the choice to the host."""
    local = os.environ.get("LOCAL_RANK")
    return f"cuda:{local}" if local is not None and torch.cuda.is_available() else None


@contextmanager
def launched_ranks() -> Iterator[Ranks]:
    """This process among those of the launcher; alone where there is none.

    Raises:
        PivotalError: the others cannot be reached, or there are more processes here than cards.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield Alone()
        return
    local = int(os.environ.get("LOCAL_RANK", "0"))
    on_cards = torch.cuda.is_available()
    if on_cards and local >= torch.cuda.device_count():
        raise PivotalError(f"This is process {local + 1} of this machine, which has {torch.cuda.device_count()} cards. Start one "
                           "process for each card.")
    try:
        # Windows has no NCCL; with gloo, what is added up goes by way of the computer's memory.
        distributed.init_process_group("nccl" if on_cards and distributed.is_nccl_available() else "gloo", timeout=PATIENCE)
    except (RuntimeError, ValueError) as error:
        raise PivotalError(f"The processes of this run could not find one another: {str(error).splitlines()[0]}") from error
    try:
        yield Together(torch.device(launched_device() or "cpu"))
    finally:
        distributed.destroy_process_group()


@contextmanager
def shared(plan: Plan, host: Host, ranks: Ranks) -> Iterator[tuple[Plan, Host]]:
    """What this process carries out: `plan` on `host`, in silence unless it is the first one.

    Raises:
        OptionError: a step's batches cannot be shared among the processes.
    """
    accumulation = plan.config.batch.accumulation
    if accumulation % ranks.count:
        raise OptionError({"batch.accumulation": f"a step has {accumulation} batches, which {ranks.count} processes cannot share "
                                                 f"evenly; take a multiple of {ranks.count}, and a smaller batch size for the "
                                                 "same number of images a step"})
    if ranks.index == 0:
        yield plan, host
        return
    with tempfile.TemporaryDirectory(prefix="pivotal-") as folder:
        yield _silent(plan), Elsewhere(host, Path(folder))


def _silent(plan: Plan) -> Plan:
    """`plan` without all that is only told, drawn or kept on the way."""
    config = plan.config
    return replace(plan, config=replace(
        config, samples=replace(config.samples, every_steps=0, every_epochs=None),
        save=replace(config.save, every_steps=0, every_epochs=None, every_minutes=None, state_every_steps=0,
                     state_every_minutes=None),
        measure=replace(config.measure, images=0), logs=replace(config.logs, csv=False, tensorboard=False, wandb="")))
