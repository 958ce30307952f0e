"""The classes behind the names of optimizers, and what each is made with."""

from __future__ import annotations

import difflib
import importlib
import inspect
import math
from collections.abc import Callable, Mapping
from importlib.metadata import version
from typing import Any

import torch

from pivotal.config.optimizers import EIGHT_BIT, Usual, parse_arguments, resolved
from pivotal.config.sections.training import Optimizer
from pivotal.errors import OptionError

Groups = list[dict[str, Any]]
_INSTALLED_BY = {
    "pytorch_optimizer": "pytorch-optimizer; restart the WebUI, or run install.py, which installs it",
    "bitsandbytes": "bitsandbytes, which is not among those that install.py brings: it must suit the graphics card. "
                    "Install it into the WebUI's environment with pip install bitsandbytes"}
_CLASSES: Mapping[str, str] = {
    "adamw": "torch.optim.AdamW", "adam": "torch.optim.Adam", "sgd": "torch.optim.SGD", "rmsprop": "torch.optim.RMSprop",
    "adagrad": "torch.optim.Adagrad", "adafactor": "transformers.optimization.Adafactor",
    "adamw 8-bit": "bitsandbytes.optim.AdamW8bit", "paged adamw 8-bit": "bitsandbytes.optim.PagedAdamW8bit",
    "lion 8-bit": "bitsandbytes.optim.Lion8bit", "paged lion 8-bit": "bitsandbytes.optim.PagedLion8bit"} | {
    kind: f"pytorch_optimizer.{name}" for kind, name in {
        "lion": "Lion", "prodigy": "Prodigy", "dadapt adam": "DAdaptAdam", "dadapt lion": "DAdaptLion",
        "dadapt sgd": "DAdaptSGD", "dadapt adagrad": "DAdaptAdaGrad", "schedule-free adamw": "ScheduleFreeAdamW",
        "schedule-free sgd": "ScheduleFreeSGD", "came": "CAME", "adan": "Adan", "ademamix": "AdEMAMix",
        "stableadamw": "StableAdamW", "lamb": "Lamb", "tiger": "Tiger"}.items()}
# Each parameter has a clock of its own in these, so that one optimizer may hold parts that rest and parts that learn.
TORCH_KINDS = ("adamw", "adam", "sgd", "rmsprop", "adagrad")
_LIBRARIES = ("torch.optim", "pytorch_optimizer")
_NEEDS_FOUR = ("dadapt adam", "dadapt sgd")  # in 3.5.0 and 3.10.1 they do not learn


def maker(settings: Optimizer) -> Callable[[Groups], torch.optim.Optimizer]:
    """What makes the optimizer that `settings` name, for parameter groups.

    Raises:
        OptionError: its package is missing, there is no such class, or it has no such argument.
    """
    found = _named(settings.name) if settings.kind == "other" else _class(_CLASSES[settings.kind], settings.kind)
    arguments = {} if settings.kind == "other" else _arguments(settings)
    try:
        extra = parse_arguments(settings.arguments)
    except ValueError as error:
        raise OptionError({"optimizer.arguments": str(error)}) from error
    known = [name for name, parameter in inspect.signature(found).parameters.items()
             if parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL) and name not in ("params", "lr")]
    unknown = [name for name in extra if name not in known]
    if unknown:
        near = difflib.get_close_matches(unknown[0], known, n=1)
        hint = f"; did you mean {near[0]}?" if near else "."
        raise OptionError({"optimizer.arguments": f"{found.__name__} has no argument {unknown[0]!r}{hint} It has "
                                                  f"{', '.join(known)}."})

    def make(groups: Groups) -> torch.optim.Optimizer:
        return found(groups, **_rate_argument(settings), **_fused(settings, groups), **{**arguments, **extra})

    return make


def _class(path: str, kind: str) -> Any:
    """The class at ``package.module.Class``."""
    place, _, name = path.rpartition(".")
    found = getattr(_library(place, kind), name, None)
    if kind in _NEEDS_FOUR and version("pytorch-optimizer").startswith("3."):
        raise OptionError({"optimizer.kind": f"{kind} goes wrong in pytorch-optimizer {version('pytorch-optimizer')}, which is "
                                             "installed here; it needs 4.0 or newer"})
    if found is None:
        raise OptionError({"optimizer.kind": f"the installed {place.partition('.')[0]} is too old for {kind}: it has no {name}"})
    return found


def _library(place: str, kind: str) -> Any:
    package = place.partition(".")[0]
    try:
        return importlib.import_module(place)
    except ImportError as error:
        raise OptionError({"optimizer.kind": f"{kind} needs the package {_INSTALLED_BY.get(package, package)} ({error})"}
                          ) from error


def _named(name: str) -> Any:
    """The optimizer class of `name`, with or without its library; torch's comes first."""
    library, _, short = name.strip().rpartition(".")
    classes: dict[str, Any] = {}
    for place in _LIBRARIES:
        if library in ("", place) and short not in classes:
            classes |= {key: value for key, value in vars(_library(place, name)).items()
                        if isinstance(value, type) and issubclass(value, torch.optim.Optimizer)}
    if short in classes:
        return classes[short]
    lower = {key.lower(): key for key in classes}
    near = difflib.get_close_matches(short.lower(), lower, n=1)
    hint = f"did you mean {lower[near[0]]}?" if near else f"give a class of {' or '.join(_LIBRARIES)}, as RAdam."
    raise OptionError({"optimizer.name": f"there is no optimizer {name.strip()!r}; {hint}"})


def _rate_argument(settings: Optimizer) -> dict[str, Any]:
    """A rate for groups that have none, which there are not; the relative step refuses any."""
    return {"lr": None} if settings.kind == "adafactor" and settings.relative_step else {"lr": settings.learning_rate}


def _fused(settings: Optimizer, groups: Groups) -> dict[str, Any]:
    """One kernel for all parameters, a third of the time: on CUDA with every torch that we run with, on the CPU from 2.4."""
    kernels = {"cuda", "cpu"} if tuple(map(int, torch.__version__.split(".")[:2])) >= (2, 4) else {"cuda"}
    devices = {parameter.device.type for group in groups for parameter in group["params"]}
    return {"fused": True} if settings.kind in ("adamw", "adam") and devices and devices <= kernels else {}


def _arguments(settings: Optimizer) -> dict[str, Any]:
    """What the class of a named kind is made with, besides rates."""
    values, kind = resolved(settings), settings.kind
    growth = math.inf if settings.growth_limit is None else settings.growth_limit
    decoupled = {"weight_decay": values.weight_decay, "weight_decouple": True}
    adam = {"betas": (values.beta_1, values.beta_2), "weight_decay": values.weight_decay}
    three = {"betas": (values.beta_1, values.beta_2, values.beta_3), **decoupled}
    finding = {"d0": settings.first_estimate, **decoupled}
    if kind in EIGHT_BIT:
        return adam if values.epsilon is None else {**adam, "eps": values.epsilon}
    made: dict[str, Callable[[], dict[str, Any]]] = {
        "lion": lambda: {**adam, "weight_decouple": True},
        "adafactor": lambda: _adafactor(settings, values),
        "prodigy": lambda: {**adam, **finding, "eps": values.epsilon, "growth_rate": growth, "beta3": values.beta_3,
                            "d_coef": settings.estimate_factor, "bias_correction": settings.bias_correction,
                            "safeguard_warmup": settings.safeguard_warmup},
        "dadapt adam": lambda: {**adam, **finding, "eps": values.epsilon, "growth_rate": growth,
                                "bias_correction": settings.bias_correction},
        "dadapt lion": lambda: {**adam, **finding},
        "dadapt sgd": lambda: {**finding, "momentum": values.beta_1, "growth_rate": growth},
        "dadapt adagrad": lambda: {**finding, "momentum": values.beta_1, "eps": values.epsilon, "growth_rate": growth},
        "schedule-free sgd": lambda: {"momentum": values.beta_1, "weight_decay": values.weight_decay},
        "sgd": lambda: {"momentum": values.beta_1, "weight_decay": values.weight_decay,
                        "nesterov": settings.nesterov and bool(values.beta_1)},
        "came": lambda: {**three, "eps1": values.epsilon, "clip_threshold": settings.clip_threshold},
        "adan": lambda: {**three, "eps": values.epsilon},
        "ademamix": lambda: {**three, "eps": values.epsilon},
        "tiger": lambda: {"beta": values.beta_1, **decoupled},
        "rmsprop": lambda: {"alpha": values.beta_2, "momentum": values.beta_1, "eps": values.epsilon,
                            "weight_decay": values.weight_decay},
        "adagrad": lambda: {"eps": values.epsilon, "weight_decay": values.weight_decay}}
    return made[kind]() if kind in made else {**adam, "eps": values.epsilon}


def _adafactor(settings: Optimizer, values: Usual) -> dict[str, Any]:
    return {"eps": (values.epsilon, 1e-3), "clip_threshold": settings.clip_threshold, "decay_rate": settings.decay_rate,
            "beta1": values.beta_1 or None, "weight_decay": values.weight_decay, "relative_step": settings.relative_step,
            "scale_parameter": settings.scale_parameter,
            "warmup_init": settings.warmup_init and settings.relative_step}
