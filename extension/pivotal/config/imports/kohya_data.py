"""Where kohya's images come from: the settings of a run, and a dataset's .toml."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pivotal.config.imports.kohya_names import KOHYA, SUBSET
from pivotal.config.imports.rules import Imported, Reading, Told, apply, is_off

SOURCE = "kohya"


def is_dataset(settings: Mapping[str, Any]) -> bool:
    """Whether this is a dataset's .toml."""
    return isinstance(settings.get("datasets"), list)


def dataset_of(rest: Mapping[str, Any], reading: Reading, from_gui: bool) -> None:
    ours = reading.flat
    if rest.get("train_data_dir"):
        ours |= {"dataset.folder": str(rest["train_data_dir"]), "dataset.repeats_in_names": True}
    if rest.get("reg_data_dir"):
        ours |= {"concepts.0.folder": str(rest["reg_data_dir"]), "concepts.0.kind": "regularization",
                 "concepts.0.repeats_in_names": True}
    extension = rest.get("caption_extension", rest.get("caption_extention"))
    ours["dataset.caption_extension"] = str(extension) if not is_off(extension) else ".caption"
    if from_gui and is_off(extension):
        reading.change("caption_extension", extension, "Empty means .caption to kohya.")
    if not rest.get("enable_bucket"):
        ours["buckets.kind"] = "off"
    else:
        ours["buckets.kind"] = "no upscale" if rest.get("bucket_no_upscale") else "aspect"
    if rest.get("cache_latents_to_disk"):
        ours["cache.latents"] = "disk"
    if rest.get("color_aug"):
        ours |= {"augment.hue": 0.03, "augment.brightness": 0.1}
        reading.change("color_aug", True, "kohya's weak changes of hue and gamma, as a hue of 0.03 and a brightness of 0.1.")


def read_dataset(settings: Mapping[str, Any]) -> Imported:
    """A dataset's .toml: its first subset is the run's dataset, each further one a concept."""
    reading, rows = Reading(), 0
    general = dict(settings.get("general", {}))
    names = {**KOHYA, **SUBSET}
    for dataset in settings["datasets"]:
        shared = {**general, **{name: value for name, value in dataset.items() if name != "subsets"}}
        for subset in dataset.get("subsets", []):
            mine = Reading()
            apply(names, {**shared, **subset}, mine)
            _subset(mine, None if not rows else rows - 1)
            _joined(reading, mine, rows)
            rows += 1
    reading.quiet += [
        Told(name, value, "Not part of a dataset.") for name, value in settings.items() if name not in ("general", "datasets")
    ]
    return reading.done(SOURCE)


def _subset(mine: Reading, row: int | None) -> None:
    rest, ours = mine.rest, mine.flat
    dataset_of({**rest, "caption_extension": rest.get("caption_extension", ".caption")}, mine, from_gui=False)
    place = "dataset" if row is None else f"concepts.{row}"
    if "image_dir" in rest:
        ours[f"{place}.folder"] = str(rest["image_dir"])
    if "num_repeats" in rest:
        ours[f"{place}.repeats"] = rest["num_repeats"]
    if rest.get("class_tokens") and row is not None:
        ours[f"{place}.text"] = rest["class_tokens"]
    elif rest.get("class_tokens"):
        mine.leave("class_tokens", rest["class_tokens"],
                   "Images of the first folder need caption files, or a template of your own with these words.")
    if rest.get("is_reg") and row is None:
        mine.leave("is_reg", True, "The first folder cannot be regularization images; put them second.")
    elif rest.get("is_reg"):
        ours[f"{place}.kind"] = "regularization"


def _joined(reading: Reading, mine: Reading, index: int) -> None:
    """Settings that hold for a run are the first subset's; another value in a later one is told."""
    for key, value in mine.flat.items():
        if key.startswith("concepts.") or index == 0:
            reading.flat[key] = value
        elif reading.flat.get(key) != value:
            reading.leave(f"subset {index + 1}: {key}", value,
                          "All folders of a run share this option; the first one's value is taken.")
    reading.changed += mine.changed
    reading.unknown += mine.unknown
    reading.quiet += mine.quiet
