"""OneTrainer's concepts and samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pivotal.config.imports.folders import take_folder, tell
from pivotal.config.imports.onetrainer_names import CONCEPT, SAMPLE
from pivotal.config.imports.rules import Reading, apply, flattened, is_off, number
from pivotal.config.sample_lines import OFF

_KINDS = {"STANDARD": "training", "VALIDATION": "validation", "PRIOR_PREDICTION": "regularization"}
_CAPTIONS = {"sample": "files", "filename": "file names", "concept": "list"}
_SAMPLERS = {"DDIM": "DDIM", "EULER": "Euler", "EULER_A": "Euler a", "DPMPP": "DPM++ 2M"}


def concepts_of(concepts: Sequence[Mapping[str, Any]] | None, reading: Reading) -> None:
    """The first concept to learn is the run's dataset; every other is a row."""
    given = [concept for concept in concepts or [] if isinstance(concept, Mapping)]
    first = next(
        (
            index
            for index, concept in enumerate(given)
            if concept.get("enabled", True) and concept.get("type", "STANDARD") == "STANDARD"
        ),
        None,
    )
    order = [first, *(index for index in range(len(given)) if index != first)] if first is not None else range(len(given))
    for place, index in enumerate(order):
        mine = Reading()
        apply(CONCEPT, flattened(given[index]), mine)
        row = place - 1 if first is not None else place
        _concept(mine, None if row < 0 else row)
        name = str(given[index].get("name") or index + 1)
        take_folder(reading, mine, None if row < 0 else row, is_first=place == 0, name=f"concept {name}")
        tell(reading, mine, f"concept {name}: ")


def _concept(mine: Reading, row: int | None) -> None:
    rest, ours = mine.rest, mine.flat
    place = "dataset" if row is None else f"concepts.{row}"
    ours |= {
        f"{place}.folder": str(rest.get("path", "")),
        f"{place}.subfolders": bool(rest.get("include_subdirectories", False)),
        f"{place}.loss_weight": rest.get("loss_weight"),
    }
    source = str(rest.get("text.prompt_source", "sample"))
    ours[f"{place}.captions"] = _CAPTIONS.get(source)
    ours["caption.lines"] = "one of them" if source == "sample" else None  # it takes a line of the file at random
    if source == "concept":
        ours[f"{place}.caption_list"] = rest.get("text.prompt_path")
    elif source not in _CAPTIONS:
        mine.leave("text.prompt_source", source, f"Known are {', '.join(_CAPTIONS)}.")
    if row is not None:
        ours |= {
            f"{place}.name": rest.get("name"),
            f"{place}.enabled": rest.get("enabled", True),
            f"{place}.kind": _KINDS.get(str(rest.get("type", "STANDARD")), "training"),
        }
    if rest.get("type") == "PRIOR_PREDICTION":
        ours["dataset.regularization"] = "prediction"
        mine.change("type", "PRIOR_PREDICTION",
                    "Regularization by prediction: the answer without network and without embeddings, which OneTrainer "
                    "leaves in.")
    _balance(rest, mine, place, row)
    for name in ("brightness", "contrast", "saturation", "hue"):
        if rest.get(f"image.enable_random_{name}"):
            ours[f"augment.{name}"] = rest.get(f"image.random_{name}_max_strength")
    if rest.get("image.enable_random_rotate"):
        ours["augment.rotation"] = rest.get("image.random_rotate_max_angle")
    if rest.get("image.enable_resolution_override"):
        ours["dataset.resolution"] = str(rest.get("image.resolution_override") or "")
    if number(rest.get("image_variations")):
        ours["augment.versions"] = rest["image_variations"]
    _tags(rest, mine)


def _balance(rest: Mapping[str, Any], mine: Reading, place: str, row: int | None) -> None:
    amount = number(rest.get("balancing"))
    if amount is None:
        return
    if str(rest.get("balancing_strategy", "REPEATS")) == "REPEATS":
        mine.flat[f"{place}.repeats"] = amount
    elif row is None:
        mine.leave("balancing", amount, "The first concept's images are counted by repeats (dataset.repeats).")
    else:
        mine.flat[f"{place}.images_per_epoch"] = amount


_DROPOUT = {"FULL": "all at once", "RANDOM": "each tag", "RANDOM WEIGHTED": "later tags more"}


def _tags(rest: Mapping[str, Any], mine: Reading) -> None:
    """Tag dropout, and the list of tags that it spares or is only for."""
    if not rest.get("text.tag_dropout_enable"):
        return
    ours, mode = mine.flat, str(rest.get("text.tag_dropout_mode", "FULL")).replace("_", " ")
    ours["caption.tag_dropout"] = rest.get("text.tag_dropout_probability")
    if mode in _DROPOUT:
        ours["caption.tag_dropout_kind"] = _DROPOUT[mode]
    else:
        mine.leave("text.tag_dropout_mode", mode, f"Known are {', '.join(_DROPOUT)}.")
    given = str(rest.get("text.tag_dropout_special_tags") or "")
    special = str(rest.get("text.tag_dropout_special_tags_mode", "NONE"))
    if special not in ("WHITELIST", "BLACKLIST") or not given.strip():
        return
    if given.strip().lower().endswith((".txt", ".csv")):
        mine.leave("text.tag_dropout_special_tags", given, "Copy the lines of this file into the list.")
        return
    delimiter = str(ours.get("caption.delimiter") or ",")
    tags = [tag.strip() for tag in given.replace("\n", delimiter).split(delimiter) if tag.strip()]
    ours["caption.tags_to_keep" if special == "WHITELIST" else "caption.tags_to_drop"] = tags
    if rest.get("text.tag_dropout_special_tags_regex"):
        ours["caption.tag_patterns"] = "regular expressions"


def samples_of(samples: Sequence[Mapping[str, Any]] | None, reading: Reading) -> None:
    """Each sample as a prompt with flags; those that are switched off as lines that are left out."""
    lines = []
    for sample in samples or []:
        mine = Reading()
        apply(SAMPLE, sample, mine)
        reading.unknown += mine.unknown
        if not is_off(mine.rest.get("prompt")):
            is_on = mine.rest.get("enabled", True)
            lines.append(_line(mine.rest) if is_on else f"{OFF} {_line(mine.rest)}")
            sampler = mine.rest.get("noise_scheduler")
            if is_on and not is_off(sampler) and sampler not in _SAMPLERS:
                reading.change("noise_scheduler", sampler, "There is no such sampler for previews; the run's is taken.")
    if lines:
        reading.flat["samples.prompts"] = lines


def _line(sample: Mapping[str, Any]) -> str:
    flags = {
        "w": sample.get("width"),
        "h": sample.get("height"),
        "d": sample.get("seed"),
        "l": sample.get("cfg_scale"),
        "s": sample.get("diffusion_steps"),
        "ss": _SAMPLERS.get(str(sample.get("noise_scheduler"))),
        "n": sample.get("negative_prompt"),
    }
    words = [f"--{flag} {' '.join(str(value).split())}" for flag, value in flags.items() if not is_off(value)]
    return " ".join([" ".join(str(sample["prompt"]).split()), *words])
