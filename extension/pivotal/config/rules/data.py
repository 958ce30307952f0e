"""What is wrong, or unusual, between the options of the dataset and its captions."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pivotal.config.own import own_captions
from pivotal.config.sections.caption import Caption

if TYPE_CHECKING:
    from pivotal.config.train import TrainConfig


def data_problems(config: TrainConfig) -> dict[str, str]:
    """Problems by key."""
    found, dataset = {}, config.dataset
    used = [(f"concepts.{index}", row) for index, row in enumerate(config.concepts) if row.enabled]
    if not dataset.folder.strip() and not any(row.kind == "training" for _, row in used):
        found["dataset.folder"] = "needs the folder that holds your images"
    found |= {f"{key}.folder": "needs the folder that holds its images" for key, row in used if not row.folder.strip()}
    found |= {f"{key}.text": "needs a text, as the captions come from it" for key, row in used
              if row.captions == "text" and not row.text.strip()}
    if "own" in (dataset.captions, *(row.captions for _, row in used)) and not dataset.templates:
        found["dataset.templates"] = "needs at least one line, for instance: a photo of [name]"
    asked = ["dataset"] if dataset.captions == "list" and (dataset.folder.strip() or config.measure.folder.strip()) else []
    asked += [key for key, row in used if not row.caption_list.strip() and
              (dataset.captions if row.captions == "as the run" else row.captions) == "list"]
    if asked and not dataset.caption_list.strip():
        found[f"{asked[0]}.caption_list"] = "needs the text file that holds the captions"
    found |= {f"{key}.subfolders": "has no meaning beside Repeats in names, which takes the subfolders as they are named"
              for key, row in (("dataset", dataset), *used) if row.repeats_in_names and row.subfolders}
    if not re.fullmatch(r"\.[\w.-]*\w", dataset.caption_extension.strip()):
        found["dataset.caption_extension"] = f"expected a dot and letters, as .txt; got {dataset.caption_extension!r}"
    caption = config.caption
    if not caption.delimiter.strip() and (_changes_tags(config) or caption.keep_separator.strip()):
        found["caption.delimiter"] = "needs the sign that parts tags, for instance a comma"
    found |= _pattern_problems(config)
    if config.samples.size is not None and config.samples.size % 8:
        found["samples.size"] = f"expected a multiple of 8, got {config.samples.size}"
    return found


def _rules(config: TrainConfig) -> list[Caption]:
    """The rules for captions of the run and of each concept."""
    return [config.caption, *(own_captions(config.caption, row) for row in config.concepts if row.enabled)]


def _changes_tags(config: TrainConfig) -> bool:
    return any(rules.shuffle or rules.tag_dropout for rules in _rules(config))


def _pattern_problems(config: TrainConfig) -> dict[str, str]:
    """Lines of the lists of tags that shall be regular expressions, and are none."""
    if config.caption.tag_patterns != "regular expressions":
        return {}
    found = {}
    for place, owner in (("caption", config.caption), *((f"concepts.{index}", row) for index, row in enumerate(config.concepts))):
        for name, lines in (("tags_to_drop", owner.tags_to_drop), ("tags_to_keep", owner.tags_to_keep)):
            for line in lines:
                try:
                    re.compile(line)
                except (re.error, RecursionError, OverflowError) as error:
                    found[f"{place}.{name}"] = f"{line!r} is no regular expression: {error}"
    return found


def data_notices(config: TrainConfig) -> dict[str, str]:
    """What is allowed and perhaps not meant, by key."""
    found, caption, dataset = {}, config.caption, config.dataset
    if not any(rules.tag_dropout for rules in _rules(config)):
        lists = {"caption.tags_to_drop": caption.tags_to_drop, "caption.tags_to_keep": caption.tags_to_keep}
        found |= {key: "Tag dropout is 0, so this list does nothing." for key, tags in lists.items() if tags}
    if caption.keep_tags and not _changes_tags(config):
        found["caption.keep_tags"] = "Tags are neither shuffled nor dropped, so there are none to keep."
    is_kept = any(row.enabled and row.kind == "regularization" for row in config.concepts)
    if not is_kept and (dataset.regularization != "images" or dataset.prior_weight != 1):
        key = "dataset.regularization" if dataset.regularization != "images" else "dataset.prior_weight"
        found[key] = "There are no regularization images; add them under Concepts."
    return found
