"""What does each tool's work, by its options."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pivotal.tools.bundles import add_to_bundle, convert_embedding, remove_from_bundle, rename_in_bundle, split_bundle
from pivotal.tools.cleaning import clean_cache
from pivotal.tools.conversion import convert_keys
from pivotal.tools.dataset.commands import caption_images, edit_captions, mask_images, prepare_images
from pivotal.tools.dataset.settings import CaptionImages, EditCaptions, MaskImages, PrepareImages
from pivotal.tools.extract import extract
from pivotal.tools.merge import merge
from pivotal.tools.resize import resize
from pivotal.tools.results import Report
from pivotal.tools.settings import (
    AddToBundle,
    CleanCache,
    ConvertEmbedding,
    ConvertKeys,
    Extract,
    Merge,
    RemoveFromBundle,
    RenameInBundle,
    Resize,
    SplitBundle,
)

WORK: Mapping[type, Callable[[Any], Report]] = {
    Resize: resize,
    Merge: merge,
    Extract: extract,
    ConvertKeys: convert_keys,
    ConvertEmbedding: convert_embedding,
    SplitBundle: split_bundle,
    AddToBundle: add_to_bundle,
    RemoveFromBundle: remove_from_bundle,
    RenameInBundle: rename_in_bundle,
    CleanCache: clean_cache,
    EditCaptions: edit_captions,
    CaptionImages: caption_images,
    MaskImages: mask_images,
    PrepareImages: prepare_images,
}


def carry_out(settings: Any) -> Report:
    """Does what `settings`, options of one of the tools, asks for.

    Raises:
        PivotalError: it cannot be done, in words; no file is half written.
    """
    return WORK[type(settings)](settings)
