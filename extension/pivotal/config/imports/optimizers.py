"""Other trainers' names of optimizers and of their arguments."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Mapping
from typing import Any

from pivotal.config.imports.rules import Reading

_SMALLER = "Without its 8 bits: the states of networks and embeddings are small."
_SPLIT = "As Prodigy, which here keeps an estimate for each part anyway; its averaging in place of a schedule is not there."
# lower-case name: (kind, class where the kind is "other", what differs)
KOHYA_OPTIMIZERS: Mapping[str, tuple[str, str, str]] = {
    "adamw": ("adamw", "", ""),
    "adamw8bit": ("adamw 8-bit", "", ""),
    "pagedadamw8bit": ("paged adamw 8-bit", "", ""),
    "pagedadamw": ("paged adamw 8-bit", "", "With 8 bits, as the other paged ones."),
    "pagedadamw32bit": ("paged adamw 8-bit", "", "With 8 bits, as the other paged ones."),
    "lion": ("lion", "", ""),
    "lion8bit": ("lion 8-bit", "", ""),
    "pagedlion8bit": ("paged lion 8-bit", "", ""),
    "sgdnesterov": ("sgd", "", ""),
    "sgdnesterov8bit": ("sgd", "", _SMALLER),
    "adafactor": ("adafactor", "", ""),
    "prodigy": ("prodigy", "", ""),
    "dadaptation": ("dadapt adam", "", ""),
    "dadaptadampreprint": ("dadapt adam", "", ""),
    "dadaptadam": ("dadapt adam", "", ""),
    "dadaptadagrad": ("dadapt adagrad", "", ""),
    "dadaptlion": ("dadapt lion", "", ""),
    "dadaptsgd": ("dadapt sgd", "", ""),
    "came": ("came", "", ""),
    "pytorch_optimizer.came": ("came", "", ""),
    "ademamix8bit": ("ademamix", "", _SMALLER),
    "pagedademamix8bit": ("ademamix", "", _SMALLER),
    "adamwschedulefree": ("schedule-free adamw", "", ""),
    "sgdschedulefree": ("schedule-free sgd", "", ""),
    "radamschedulefree": ("other", "ScheduleFreeRAdam", ""),
    "tiger": ("tiger", "", ""),
}
ONETRAINER_OPTIMIZERS: Mapping[str, tuple[str, str, str]] = {
    "adam": ("adam", "", ""),
    "adam_8bit": ("adam", "", _SMALLER),
    "adamw": ("adamw", "", ""),
    "adamw_8bit": ("adamw 8-bit", "", ""),
    "adamw_adv": ("adamw", "", "As plain AdamW."),
    "ademamix": ("ademamix", "", ""),
    "ademamix_8bit": ("ademamix", "", _SMALLER),
    "lion": ("lion", "", ""),
    "lion_8bit": ("lion 8-bit", "", ""),
    "lion_adv": ("lion", "", "As plain Lion."),
    "adafactor": ("adafactor", "", ""),
    "came": ("came", "", ""),
    "came_8bit": ("came", "", _SMALLER),
    "prodigy": ("prodigy", "", ""),
    "prodigy_adv": ("prodigy", "", "As plain Prodigy."),
    "prodigy_plus_schedule_free": ("prodigy", "", _SPLIT),
    "dadapt_adam": ("dadapt adam", "", ""),
    "dadapt_lion": ("dadapt lion", "", ""),
    "dadapt_sgd": ("dadapt sgd", "", ""),
    "dadapt_ada_grad": ("dadapt adagrad", "", ""),
    "schedule_free_adamw": ("schedule-free adamw", "", ""),
    "schedule_free_sgd": ("schedule-free sgd", "", ""),
    "sgd": ("sgd", "", ""),
    "sgd_8bit": ("sgd", "", _SMALLER),
    "rmsprop": ("rmsprop", "", ""),
    "rmsprop_8bit": ("rmsprop", "", _SMALLER),
    "adagrad": ("adagrad", "", ""),
    "adagrad_8bit": ("adagrad", "", _SMALLER),
    "lamb": ("lamb", "", ""),
    "lamb_8bit": ("lamb", "", _SMALLER),
    "tiger": ("tiger", "", ""),
    "lars": ("other", "LARS", ""),
    "lars_8bit": ("other", "LARS", _SMALLER),
    "adabelief": ("other", "AdaBelief", ""),
    "yogi": ("other", "Yogi", ""),
    "adopt": ("other", "ADOPT", ""),
    "aida": ("other", "Aida", ""),
}
INVOKE_OPTIMIZERS: Mapping[str, tuple[str, str, str]] = {
    "adamw": ("adamw", "", ""),
    "adamw8bit": ("adamw 8-bit", "", ""),
    "prodigy": ("prodigy", "", ""),
}

# An optimizer's own argument: the option of ours that is the same.
ARGUMENTS = {
    "weight_decay": "weight_decay",
    "eps": "epsilon",
    "beta1": "beta_1",
    "beta2": "beta_2",
    "beta3": "beta_3",
    "momentum": "beta_1",
    "d0": "first_estimate",
    "d_coef": "estimate_factor",
    "growth_rate": "growth_limit",
    "use_bias_correction": "bias_correction",
    "safeguard_warmup": "safeguard_warmup",
    "nesterov": "nesterov",
    "relative_step": "relative_step",
    "warmup_init": "warmup_init",
    "scale_parameter": "scale_parameter",
    "clip_threshold": "clip_threshold",
    "decay_rate": "decay_rate",
}
_ALWAYS = {"decouple": "True", "foreach": "False", "fused": "False"}  # how it is here anyway, or without effect on results


_WORD = re.compile(r'(?:[^\s"]|"[^"]*")+')  # blanks part words, but not within quotes


def named_arguments(given: Any) -> dict[str, Any]:
    """kohya's ``weight_decay=0.01 "betas=.9,.99"``, a text or a list, as {"weight_decay": 0.01, "betas": (0.9, 0.99)}."""
    words = _WORD.findall(given) if isinstance(given, str) else given or []
    found: dict[str, Any] = {}
    for word in words:
        name, _, value = str(word).replace('"', "").partition("=")
        found[name.strip()] = _literal(value.strip())
    return found


def _literal(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def optimizer_of(name: str, arguments: Mapping[str, Any], known: Mapping[str, tuple[str, str, str]], reading: Reading) -> None:
    """Sets the optimizer and its arguments; those without an option of ours go, as they are, to the others."""
    ours = reading.flat
    found = known.get(name.lower().strip())
    if found is None:
        reading.leave("optimizer", name,
                      "There is no such optimizer by that name; AdamW is taken. Choose other, and name its class, if PyTorch or "
                      "pytorch-optimizer has it.")
        return
    kind, own_class, text = found
    ours["optimizer.kind"] = kind
    if own_class:
        ours["optimizer.name"] = own_class
    if text:
        reading.change("optimizer", name, text)
    if known is KOHYA_OPTIMIZERS and kind == "adafactor":
        arguments = {"relative_step": True, "scale_parameter": True, **arguments}  # kohya's, where nothing is said
    lines = []
    for key, value in arguments.items():
        if key == "betas" and isinstance(value, (tuple, list)):
            ours |= {f"optimizer.beta_{place + 1}": beta for place, beta in enumerate(value)}
        elif key == "eps" and isinstance(value, (tuple, list)):
            ours["optimizer.epsilon"] = value[0]
        elif key in ARGUMENTS:
            ours[f"optimizer.{ARGUMENTS[key]}"] = _limit(key, value)
        elif str(value) != _ALWAYS.get(key) and key not in ("foreach", "fused"):
            lines.append(f"{key} = {value!r}")
    if lines:
        ours["optimizer.arguments"] = lines
    _relative(kind, reading)


def _limit(key: str, value: Any) -> Any:
    """No limit of growth is written as infinity elsewhere."""
    return None if key == "growth_rate" and str(value) in ("inf", "Infinity") else value


def _relative(kind: str, reading: Reading) -> None:
    if kind == "adafactor" and reading.flat.get("optimizer.relative_step"):
        reading.change("optimizer", kind, "Adafactor takes its relative step, as there: learning rates are not used.")


def argument_rules(rule: Callable[..., Any]) -> dict[str, Any]:
    """A rule for each argument that an option of ours is."""
    return {name: rule(f"optimizer.{ours}") for name, ours in ARGUMENTS.items()}
