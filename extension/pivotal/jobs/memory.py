"""When the device has no room: how that is known, how room is made, and which options would need less of it."""

from __future__ import annotations

import gc
import importlib.util
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from pivotal.config.options import flatten
from pivotal.config.resolution import STEP, resolutions_of
from pivotal.config.train import TrainConfig
from pivotal.events import Failed

# Apple's devices, DirectML, Intel's and the CPU raise a plain RuntimeError, as cuBLAS and cuDNN do when they find no room for
# their own: also where they only say that they could not begin, or that no algorithm would do.
_WORDS = ("out of memory", "can't allocate memory", "not enough memory", "alloc_failed", "status_not_initialized",
          "unable to find an engine", "unable to find a valid cudnn algorithm", "invalid buffer size", "not enough gpu",
          "out_of_device_memory", "out_of_host_memory")
_SMALLEST_SIDE = 256  # px, below which a picture shows little


@dataclass(frozen=True)
class Remedy:
    """An option that would need less memory with another value."""

    key: str
    value: Any
    why: str  # what it costs


def is_out_of_memory(error: BaseException) -> bool:
    """Whether `error` says that there was no room on a device, or in the computer."""
    if isinstance(error, (torch.cuda.OutOfMemoryError, MemoryError)):  # also torch.OutOfMemoryError, from torch 2.5 on
        return True
    return isinstance(error, RuntimeError) and any(word in str(error).lower() for word in _WORDS)


def let_go(error: BaseException) -> None:
    """Drops the tensors that the places hold through which `error` came, and gives the room back to the device.

    To be called once the error was logged, when everything lent is given back.
    """
    seen: BaseException | None = error
    while seen is not None:
        traceback.clear_frames(seen.__traceback__)
        seen = seen.__cause__ or seen.__context__
    empty_device()


def empty_device() -> None:
    """Returns what torch keeps for later to the device, for others to have."""
    gc.collect()
    for name in ("cuda", "xpu", "mps"):
        device = getattr(torch, name, None)
        if device is not None and hasattr(device, "empty_cache") and _is_there(name):
            device.empty_cache()


def _is_there(name: str) -> bool:
    if name == "mps":
        return torch.backends.mps.is_available()
    return getattr(torch, name).is_available()


def out_of_memory(error: BaseException, config: TrainConfig, usual: int) -> Failed:
    """What is told of a run that ended so: each remedy under its option, with the value now and the one that helps.

    Args:
        usual: px, the resolution where none is typed.
    """
    found, now = list(remedies(config, usual)), flatten(config)
    first = (str(error).strip().splitlines() or [type(error).__name__])[0]
    said = f"The device ran out of memory ({first[:200]}). "
    if not found:
        return Failed(said + "No option of this run would need less; a smaller checkpoint, or closing other programs, helps.", {})
    problems = {remedy.key: f"is {_shown(now[remedy.key], usual)}; {_shown(remedy.value, usual)} needs less memory, {remedy.why}"
                for remedy in found}
    listed = "; ".join(f"{remedy.key} {_shown(remedy.value, usual)}" for remedy in found)
    return Failed(f"{said}Any of these needs less: {listed}.", problems, {remedy.key: remedy.value for remedy in found})


def remedies(config: TrainConfig, usual: int) -> Iterator[Remedy]:
    """What would need less memory, the cheapest first."""
    batch, side = config.batch, _side(config, usual)
    if not config.precision.gradient_checkpointing:
        yield Remedy("precision.gradient_checkpointing", True, "and is a third slower")
    if config.performance.attention == "math":
        yield Remedy("performance.attention", "auto", "and is faster")
    if config.precision.compute == "fp32" and torch.cuda.is_available():
        yield Remedy("precision.compute", "auto", "and is faster, but less exact")
    if batch.size > 1:
        smaller = max(size for size in range(1, batch.size // 2 + 1) if batch.size % size == 0)
        yield Remedy("batch.size", smaller, "and is slower")
        # So that an update sees as many images as before.
        yield Remedy("batch.accumulation", batch.accumulation * batch.size // smaller, "with the smaller batch size")
    if config.network.method != "none" and config.optimizer.kind == "adamw" and _has_8_bit():
        yield Remedy("optimizer.kind", "adamw 8-bit", "and learns nearly the same")
    if (config.optimizer.ema_decay or config.optimizer.ema_half_life) and not config.performance.averages_on_cpu:
        yield Remedy("performance.averages_on_cpu", True, "and is a little slower")
    if config.cache.batch > 1:
        yield Remedy("cache.batch", 1, "while images are encoded")
    if side > _SMALLEST_SIDE:
        smaller = max(_SMALLEST_SIDE, side * 3 // 4 // (8 * STEP) * (8 * STEP))
        yield Remedy("dataset.resolution", str(smaller), "and shows less of each image")


def _side(config: TrainConfig, usual: int) -> int:
    """px, the largest side of all resolutions."""
    return max(max(size) for size in resolutions_of(config.dataset.resolution, usual))


def _has_8_bit() -> bool:
    return torch.cuda.is_available() and importlib.util.find_spec("bitsandbytes") is not None


def _shown(value: Any, usual: int) -> str:
    """`value` as a form has it."""
    if isinstance(value, bool):
        return "on" if value else "off"
    return str(value) if value != "" else str(usual)

