"""What another trainer takes and Pivotal does not, so that a file that was read can be carried out; all of it is told."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pivotal.config.build import coerce, draft, options_of
from pivotal.config.imports.rules import Imported, Told, number
from pivotal.config.optimizers import FINDS_ITS_RATE
from pivotal.config.options import Option
from pivotal.config.resolution import LEAST, MOST, STEP
from pivotal.config.train import TrainConfig

VERSIONS = 4  # of each image, where its changes are cached
_TURNS = 5  # what is mended may show what else is wrong
_CHANGES = ("rotation", "brightness", "contrast", "saturation", "hue", "zoom")
# What only the user can say: paths, words, and what is to be trained where a file is a dataset's alone.
_ASKED = re.compile(r".*\.(folder|base_embedding|base_file|templates|caption_list)|concepts\.\d+\.text|embeddings|name")
_SIZES = re.compile(r"(dataset|concepts\.\d+)\.resolution|buckets\.(step|minimum|maximum)")


def mended(found: Imported) -> Imported:
    """`found` without values that no run of ours takes: the nearest that it takes, or none."""
    flat, changed, unknown = dict(found.flat), list(found.changed), list(found.unknown)
    for _ in range(_TURNS):
        problems = {key: text for key, text in draft(TrainConfig, flat)[1].items() if not _ASKED.fullmatch(key)}
        if not problems:
            break
        if _is_once_cached(problems, flat):
            changed += _several_versions(flat)
            problems.pop("augment.versions")
        options = options_of(TrainConfig, flat)
        for key, text in problems.items():
            if key not in flat:
                continue
            before = flat.pop(key)
            nearest = _nearest(key, before, options.get(key), flat)
            if nearest is None:
                unknown.append(Told(key, before, f"{text[:1].upper()}{text[1:]}."))
            else:
                flat[key] = nearest
                changed.append(Told(key, before, f"{nearest}: {text}."))
    return replace(found, flat=flat, changed=tuple(changed), unknown=tuple(unknown))


def _nearest(key: str, value: Any, option: Option | None, flat: Mapping[str, Any]) -> Any:
    """The value of ours that is nearest to `value`; None where there is none."""
    if _SIZES.fullmatch(key):
        return _eights(key, value)
    amount = number(value)
    if option is None or amount is None:
        return None
    if _is_good(option, value):  # bad only beside others
        finds = str(flat.get("optimizer.kind")) in FINDS_ITS_RATE and 0 < amount < 1 and key.endswith("_rate")
        return 1.0 if finds else None
    return next((bound for bound in (option.spec.le, option.spec.ge) if bound is not None and _is_good(option, bound)
                 and (amount > bound if bound == option.spec.le else amount < bound)), None)


def _is_good(option: Option, value: Any) -> bool:
    try:
        coerce(option, value)
    except ValueError:
        return False
    return True


def _eights(key: str, value: Any) -> Any:
    """`value` with its numbers of px as multiples of 8, which a latent stands for; None where there are none."""
    def rounded(found: re.Match[str]) -> str:
        return str(min(MOST, max(LEAST if key.endswith("resolution") else STEP, round(float(found[0]) / STEP) * STEP)))

    text = re.sub(r"\d{1,9}(?:\.\d+)?", rounded, str(value))
    if text == str(value):
        return None
    return text if key.endswith("resolution") else number(text)


def _is_once_cached(problems: Mapping[str, str], flat: Mapping[str, Any]) -> bool:
    return "augment.versions" in problems and number(flat.get("augment.versions", 1)) == 1


def _several_versions(flat: dict[str, Any]) -> list[Told]:
    """Asks for several versions of each image, or for none where they differ only in what is cut off.

    Trainers that cache latents keep one crop and one colour of an image for the whole run (OneTrainer with one
    variation), or refuse such a run (kohya).
    """
    if any(number(value) for key, value in flat.items() if key.rpartition(".")[2] in _CHANGES and "samples" not in key):
        flat["augment.versions"] = VERSIONS
        return [Told("augment.versions", 1, f"{VERSIONS}: latents are cached, and one change of each image would stay for the "
                                            "whole run.")]
    crops = [key for key, value in flat.items() if key.endswith(".random_crop") and value not in (False, "off")]
    return [Told(key, flat.pop(key), "Off: latents are cached, and one crop of each image would stay for the whole run; with "
                                     "several versions (augment.versions) it can be on.") for key in crops]
