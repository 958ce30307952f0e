"""Where kohya's images come from: the settings of a run, and a dataset's .toml."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pivotal.config.imports.folders import take_folder, tell
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
    elif rest.get("image_folder"):  # of the GUI's page for fine-tuning
        ours["dataset.folder"] = str(rest["image_folder"])
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
    """A dataset's .toml: its first subset is the run's dataset, each further one a concept.

    Where the first has words of its own, or is regularization, which a run's dataset is not, all are concepts.
    """
    reading, subsets = Reading(), list(_subsets(settings))
    before = 0 if subsets and (subsets[0].get("class_tokens") or subsets[0].get("is_reg")) else 1
    for index, subset in enumerate(subsets):
        mine, row = Reading(), index - before if index >= before else None
        apply({**KOHYA, **SUBSET}, subset, mine)
        _subset(mine, row)
        take_folder(reading, mine, row, is_first=index == 0, name=f"subset {index + 1}")
        tell(reading, mine)
    reading.quiet += [
        Told(name, value, "Not part of a dataset.") for name, value in settings.items() if name not in ("general", "datasets")
    ]
    return reading.done(SOURCE)


def _subsets(settings: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Each subset with what its dataset and the whole file say."""
    general = settings.get("general")
    for dataset in settings["datasets"]:
        if isinstance(dataset, Mapping):
            shared = {**(general if isinstance(general, Mapping) else {}), **dataset}
            shared.pop("subsets", None)
            yield from ({**shared, **subset} for subset in dataset.get("subsets") or [] if isinstance(subset, Mapping))


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
    if rest.get("is_reg") and row is not None:
        ours[f"{place}.kind"] = "regularization"
