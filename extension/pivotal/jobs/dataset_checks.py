"""Reads the images of a run, and says what is wrong, or unusual, with them and their captions."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from pivotal.config.sections.caption import Caption
from pivotal.config.sections.concept import Concept as Row
from pivotal.config.train import TrainConfig
from pivotal.data.captions import Captions
from pivotal.data.concepts import Concept, Wording
from pivotal.data.folder import Reading
from pivotal.data.sources import Group, read_source
from pivotal.errors import DatasetError
from pivotal.jobs.problems import Problems
from pivotal.prompts.placeholders import find_placeholders
from pivotal.prompts.templates import FILEWORDS, OBJECT, STYLE

MANY = 200  # repeats that are rather a date or a number in a folder's name
_PARTED = re.compile(r"[(\[][^()\[\]]*,")
_SIDES = re.compile(r"\b(?:left|right)\b", re.IGNORECASE)


def read_captions(config: TrainConfig, scratch: Path, found: Problems) -> tuple[Captions | None, Captions | None]:
    """The images to train on, and those to measure on: the same where none are held out; None where something is wrong.

    Args:
        scratch: folder for what has to be fetched.
    """
    trained: list[tuple[Concept, Group]] = []
    measured: list[tuple[Concept, Group]] = []
    for key, row in _rows(config):
        try:
            groups = read_source(row.folder.strip(), _reading(config, row), scratch)
        except DatasetError as error:
            found.add(f"{key}.folder", str(error))
            continue
        kind = measured if row.kind == "validation" else trained
        kind += [(_concept(config, row, group), group) for group in groups]
    captions = _joined(config, trained) if any(concept.kind == "training" for concept, _ in trained) else None
    return captions, _joined(config, measured) if measured else captions


def _rows(config: TrainConfig) -> Iterator[tuple[str, Row]]:
    """The sources with the keys of their options; the dataset is the first, the measured folder a simple one."""
    dataset = config.dataset
    if dataset.folder.strip():
        yield "dataset", Row(dataset.folder, repeats=dataset.repeats, loss_weight=dataset.loss_weight,
                             subfolders=dataset.subfolders, repeats_in_names=dataset.repeats_in_names)
    for index, row in enumerate(config.concepts):
        if row.enabled and row.folder.strip():
            yield f"concepts.{index}", row
    if config.measure.folder.strip():
        yield "measure", Row(config.measure.folder, kind="validation", subfolders=dataset.subfolders)


def _captions_from(config: TrainConfig, row: Row) -> str:
    return config.dataset.captions if row.captions == "as the run" else row.captions


def _templates(config: TrainConfig, row: Row) -> tuple[str, ...]:
    return {"object": OBJECT, "style": STYLE, "own": config.dataset.templates}.get(_captions_from(config, row), ())


def _reading(config: TrainConfig, row: Row) -> Reading:
    dataset, source, templates = config.dataset, _captions_from(config, row), _templates(config, row)
    need = not templates or dataset.template_place == "before" or any(FILEWORDS in line for line in templates)
    return Reading(need_captions=need, from_names=source == "file names", text=row.text.strip(), only_text=source == "text",
                   extension=dataset.caption_extension.strip(), one_line=config.caption.lines == "one of them",
                   subfolders=row.subfolders, repeats_in_names=row.repeats_in_names, image_column=dataset.image_column,
                   text_column=dataset.text_column, mask_column=dataset.mask_column)


def _concept(config: TrainConfig, row: Row, group: Group) -> Concept:
    dataset, kind = config.dataset, row.kind
    is_kept = kind == "regularization"
    # Regularization is balanced by what it is beside, whatever its folders' names say; kohya has it so, too.
    repeats = {"training": row.repeats * group.repeats, "regularization": row.repeats, "validation": 1.0}[kind]
    return Concept(row.name.strip() or group.name, kind, repeats, None if kind == "validation" else row.images_per_epoch,
                   row.loss_weight * (dataset.prior_weight if is_kept else 1.0),
                   is_kept and dataset.regularization == "prediction", kind != "validation" and row.augment != "off",
                   _wording(config, row))


def _wording(config: TrainConfig, row: Row) -> Wording:
    """The words of a concept; regularization images show other things, so they get none of the run's own words."""
    is_kept = row.kind == "regularization"
    placeholders = " ".join(embedding.placeholder for embedding in config.embeddings if embedding.train)
    rules = replace(config.caption, prefix=row.prefix.strip() or config.caption.prefix,
                    trigger_word=row.trigger_word.strip() or ("" if is_kept else config.caption.trigger_word))
    if row.kind == "validation":
        rules = _unchanging(rules)
    return Wording(_templates(config, row), row.text.strip() if is_kept and row.text.strip() else placeholders, rules,
                   config.dataset.template_place == "before")


def _unchanging(rules: Caption) -> Caption:
    """Held-out images keep their captions, so that measurements can be compared."""
    return replace(rules, tag_dropout=0.0, shuffle=False, dropout=0.0, dropout_every_epochs=0)


def _joined(config: TrainConfig, pairs: list[tuple[Concept, Group]]) -> Captions:
    items = [replace(item, concept=index, augmented=concept.augmented)
             for index, (concept, group) in enumerate(pairs) for item in group.items]
    return Captions(items, [concept for concept, _ in pairs], config.seed)


def dataset_notices(config: TrainConfig, captions: Captions) -> dict[str, str]:
    """What is allowed and perhaps not meant, by key; of a config whose length is in steps."""
    found, texts = {}, captions.all_texts()
    sided = [text for text in texts if _SIDES.search(text)] if config.augment.flip else []
    if sided:
        found["augment.flip"] = (f"{len(sided)} captions speak of left or right, as {sided[0][:60]!r}, and images are mirrored: "
                                 "then they say the wrong side.")
    parted = [text for text in texts if _PARTED.search(text)] if _breaks_brackets(config.caption) else []
    if parted:
        found["caption.weighted"] = (f"{len(parted)} captions have tags within brackets, as {parted[0][:60]!r}, which are "
                                     "shuffled or dropped out of them; give each tag brackets of its own.")
    if taught := _words_of_regularization(config, captions):
        found["dataset.regularization"] = (f"Captions of regularization images say {taught!r}, which is trained, and so teach it "
                                           "what it is not; give their concept a caption text for what they show.")
    often = [concept for concept in captions.concepts if concept.repeats >= MANY]
    if often and config.dataset.repeats_in_names:
        found["dataset.repeats_in_names"] = f"{often[0].name!r} counts as {often[0].repeats:g} repeats; is that meant?"
    seen, images = config.length.steps * config.batch.size * config.batch.accumulation, len(captions.items)
    if seen < images:
        found["length.steps"] = f"The run sees {seen} of its {images} images: {config.length.steps} steps are less than an epoch."
    return found


def _breaks_brackets(rules: Caption) -> bool:
    return rules.weighted and rules.delimiter.strip() == "," and bool(rules.shuffle or rules.tag_dropout)


def _words_of_regularization(config: TrainConfig, captions: Captions) -> str | None:
    """A trained word in the captions of images that shall keep what the model knew; None where there is none."""
    kept = [item for item in captions.items if captions.concepts[item.concept].kind == "regularization"]
    if not kept or config.dataset.regularization == "prediction":
        return None
    names = [row.placeholder for row in config.embeddings if row.train]
    texts = replace(captions, items=kept, concepts=[concept if concept.kind == "regularization" else replace(
        concept, wording=Wording()) for concept in captions.concepts]).all_texts()
    return next((name for text in texts for _, _, name in find_placeholders(text, names)), None)
