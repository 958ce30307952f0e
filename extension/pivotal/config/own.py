"""What a concept has of its own, laid over the run's settings."""

from __future__ import annotations

from dataclasses import replace

from pivotal.config.sections.augment import Augment
from pivotal.config.sections.caption import Caption
from pivotal.config.sections.concept import Concept, OnOff


def own_captions(run: Caption, row: Concept) -> Caption:
    """The rules for a concept's captions."""
    return replace(run, prefix=row.prefix.strip() or run.prefix, suffix=row.suffix.strip() or run.suffix,
                   trigger_word=row.trigger_word.strip() or run.trigger_word,
                   keep_tags=run.keep_tags if row.keep_tags is None else row.keep_tags,
                   tag_dropout=run.tag_dropout if row.tag_dropout is None else row.tag_dropout,
                   tags_to_drop=row.tags_to_drop or run.tags_to_drop, tags_to_keep=row.tags_to_keep or run.tags_to_keep,
                   shuffle=_chosen(row.shuffle, run.shuffle), dropout=run.dropout if row.dropout is None else row.dropout)


def own_augment(run: Augment, row: Concept) -> Augment:
    """The changes of a concept's images; switched off, only those of its own are left."""
    base = run if row.augment == "as the run" else Augment(versions=run.versions)
    given = {"flip": row.flip, "rotation": row.rotation, "brightness": row.brightness, "contrast": row.contrast,
             "saturation": row.saturation, "hue": row.hue}
    return replace(base, random_crop=_chosen(row.random_crop, base.random_crop),
                   **{name: value for name, value in given.items() if value is not None})


def _chosen(choice: OnOff, run: bool) -> bool:
    return run if choice == "as the run" else choice == "on"
