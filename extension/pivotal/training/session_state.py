"""A session as facts and tensors, and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from torch import Tensor

from pivotal.training.optimizer_state import pack_optimizer, unpack_optimizer

if TYPE_CHECKING:
    from pivotal.training.session import Session


def packed(session: Session) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Facts (JSON) and tensors from which `unpack` makes this very session; what is trained under ``trained.``, no copies."""
    tensors = {f"trained.{index}.{key}": value for index, part in enumerate(session.parts)
               for key, value in part.trainable.state_dict().items()}
    optimizers = []
    for index, stepper in enumerate(session.steppers):
        optimizer, more = pack_optimizer(stepper.optimizer, f"optimizer.{index}.")
        optimizers.append(optimizer)
        tensors |= more
    facts = {"progress": asdict(session.progress), "scaler": session.scaler.state_dict(), "optimizers": optimizers,
             "guard": session.guard.state()}
    if session.averages is not None:
        facts["averages"], more = session.averages.state()
        tensors |= more
    facts["best"], more = session.best.state()
    return facts, tensors | more | session.record.state()


def unpack(session: Session, facts: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Takes `session`, made for the same run, to where `packed` was called."""
    session.progress = replace(session.progress, **facts["progress"])
    for index, part in enumerate(session.parts):
        prefix = f"trained.{index}."
        part.trainable.load_state_dict({key[len(prefix):]: value for key, value in tensors.items() if key.startswith(prefix)})
    for index, (stepper, optimizer) in enumerate(zip(session.steppers, facts["optimizers"], strict=True)):
        unpack_optimizer(stepper.optimizer, optimizer, tensors, f"optimizer.{index}.")
    if session.averages is not None:
        session.averages.restore(facts["averages"], tensors)
    if "best" in facts:  # states of 0.2.0 have neither
        session.best.restore(facts["best"], tensors)
        session.record.restore(tensors)
    if "guard" in facts:  # states of 0.3.0 have none
        session.guard.restore(facts["guard"])
        if session.guard.is_precise:
            session.compute_in_fp32()
    if session.scaler.is_enabled() and facts["scaler"]:  # empty where another format was computed in
        session.scaler.load_state_dict(dict(facts["scaler"]))
