"""Reads the images of a run, and says what is wrong, or unusual, with them and their captions."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from pivotal.config.build import typed_path
from pivotal.config.own import own_augment, own_captions
from pivotal.config.sections.augment import Augment
from pivotal.config.sections.caption import Caption
from pivotal.config.sections.concept import Concept as Row
from pivotal.config.train import TrainConfig
from pivotal.data.captions import Captions
from pivotal.data.concepts import Concept, Wording, held_back
from pivotal.data.folder import Reading, read_lines
from pivotal.data.sources import Group, read_source
from pivotal.errors import DatasetError
from pivotal.jobs.checks.problems import Problems
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
            templates = _templates(config, row)
        except DatasetError as error:
            found.add(f"{key if row.caption_list.strip() else 'dataset'}.caption_list", str(error))
            continue
        try:
            groups = read_source(row.folder.strip(), _reading(config, row, templates), scratch)
        except DatasetError as error:
            found.add(f"{key}.folder", str(error))
            continue
        kind = measured if row.kind == "validation" else trained
        kind += [(_concept(config, row, group, templates), group) for group in groups]
    trained, held = _held_back(config, trained)
    measured += held
    captions = _joined(config, trained) if any(concept.kind == "training" for concept, _ in trained) else None
    return captions, _joined(config, measured) if measured else captions


def _held_back(config: TrainConfig, pairs: list[tuple[Concept, Group]]) -> tuple[list[tuple[Concept, Group]], ...]:
    """What is trained on without the share that is held back, and that."""
    kept, back = [], []
    for concept, group in pairs:
        share = config.measure.share if concept.kind == "training" else 0.0
        own, others = held_back(group.items, share, config.seed)
        kept.append((concept, replace(group, items=tuple(own))))
        if others:
            wording = replace(concept.wording, rules=_unchanging(concept.wording.rules))
            measured = replace(concept, kind="validation", repeats=1.0, images_per_epoch=None, augment=Augment(), wording=wording)
            back.append((measured, replace(group, items=tuple(others))))
    return kept, back


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
    """The sentences from which captions are made; those of a file of captions are used as templates are.

    Raises:
        DatasetError: that file cannot be read, or is empty.
    """
    source = _captions_from(config, row)
    if source != "list":
        return {"object": OBJECT, "style": STYLE, "own": config.dataset.templates}.get(source, ())
    try:
        path = typed_path(row.caption_list or config.dataset.caption_list)
    except ValueError as error:
        raise DatasetError(str(error)) from error
    lines = read_lines(path) if path.name else None
    if not lines:
        raise DatasetError(f"{path} {'does not exist' if lines is None else 'holds no line'}; give a text file with a caption a "
                           "line.")
    return tuple(lines)


def _reading(config: TrainConfig, row: Row, templates: Sequence[str]) -> Reading:
    dataset, source = config.dataset, _captions_from(config, row)
    need = not templates or dataset.template_place == "before" or any(FILEWORDS in line for line in templates)
    return Reading(need_captions=need, from_names=source == "file names", text=row.text.strip(), only_text=source == "text",
                   extension=dataset.caption_extension.strip(), one_line=config.caption.lines == "one of them",
                   subfolders=row.subfolders, repeats_in_names=row.repeats_in_names, image_column=dataset.image_column,
                   text_column=dataset.text_column, mask_column=dataset.mask_column)


def _concept(config: TrainConfig, row: Row, group: Group, templates: tuple[str, ...]) -> Concept:
    dataset, kind = config.dataset, row.kind
    is_kept = kind == "regularization"
    # Regularization is balanced by what it is beside, whatever its folders' names say; kohya has it so, too.
    repeats = {"training": row.repeats * group.repeats, "regularization": row.repeats, "validation": 1.0}[kind]
    return Concept(row.name.strip() or group.name, kind, repeats, None if kind == "validation" else row.images_per_epoch,
                   row.loss_weight * (dataset.prior_weight if is_kept else 1.0),
                   is_kept and dataset.regularization == "prediction",
                   Augment() if kind == "validation" else own_augment(config.augment, row), row.resolution.strip(),
                   _wording(config, row, templates))


def _wording(config: TrainConfig, row: Row, templates: tuple[str, ...]) -> Wording:
    """The words of a concept; regularization images show other things, so they get none of the run's own words."""
    is_kept = row.kind == "regularization"
    placeholders = " ".join(embedding.placeholder for embedding in config.embeddings if embedding.train)
    rules = own_captions(config.caption, row)
    if is_kept:
        rules = replace(rules, trigger_word=row.trigger_word.strip())
    if row.kind == "validation":
        rules = _unchanging(rules)
    return Wording(templates, row.text.strip() if is_kept and row.text.strip() else placeholders, rules,
                   config.dataset.template_place == "before")


def _unchanging(rules: Caption) -> Caption:
    """Held-out images keep their captions, so that measurements can be compared."""
    return replace(rules, tag_dropout=0.0, shuffle=False, dropout=0.0, dropout_every_epochs=0)


def _joined(config: TrainConfig, pairs: list[tuple[Concept, Group]]) -> Captions:
    items = [replace(item, concept=index) for index, (_, group) in enumerate(pairs) for item in group.items]
    return Captions(items, [concept for concept, _ in pairs], config.seed)


def dataset_notices(config: TrainConfig, captions: Captions) -> dict[str, str]:
    """What is allowed and perhaps not meant, by key; of a config whose length is in steps."""
    found = {}
    sided = [text for text in _said(captions, lambda concept: concept.augment.flip > 0) if _SIDES.search(text)]
    if sided:
        found["augment.flip"] = (f"{len(sided)} captions speak of left or right, as {sided[0][:60]!r}, and images are mirrored: "
                                 "then they say the wrong side.")
    parted = [text for text in _said(captions, lambda concept: _breaks_brackets(concept.wording.rules)) if _PARTED.search(text)]
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


def _said(captions: Captions, wanted: Callable[[Concept], bool]) -> list[str]:
    """The texts of those concepts that are wanted."""
    chosen = [wanted(concept) for concept in captions.concepts]
    items = [item for item in captions.items if chosen[item.concept]]
    others = [concept if is_chosen else replace(concept, wording=Wording())
              for concept, is_chosen in zip(captions.concepts, chosen, strict=True)]
    return replace(captions, items=items, concepts=others).all_texts() if items else []


def _breaks_brackets(rules: Caption) -> bool:
    return rules.weighted and rules.delimiter.strip() == "," and bool(rules.shuffle or rules.tag_dropout)


def _words_of_regularization(config: TrainConfig, captions: Captions) -> str | None:
    """A trained word in the captions of images that shall keep what the model knew; None where there is none."""
    if config.dataset.regularization == "prediction":
        return None
    names = [row.placeholder for row in config.embeddings if row.train]
    texts = _said(captions, lambda concept: concept.kind == "regularization")
    return next((name for text in texts for _, _, name in find_placeholders(text, names)), None)
