"""Every tool by name; the command line and the page are made from this table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Tool:
    """One tool: what it is called, what it is told, and what does it."""

    name: str  # on the command line
    title: str  # on the page
    section: type  # a dataclass of options
    run: Callable[[Any], Report]
    given: tuple[str, ...]  # options that a command line has without a flag, in order


_ALL = (
    Tool("resize", "Resize a network", Resize, resize, ("source", "target")),
    Tool("merge", "Merge networks", Merge, merge, ("sources", "target")),
    Tool("extract", "Extract a LoRA from two checkpoints", Extract, extract, ("base", "tuned", "target")),
    Tool("convert-keys", "Convert a network's names", ConvertKeys, convert_keys, ("source", "target")),
    Tool("convert-embedding", "Convert an embedding", ConvertEmbedding, convert_embedding, ("source", "target")),
    Tool("split-bundle", "Take the embeddings out of a network as files", SplitBundle, split_bundle, ("source",)),
    Tool("add-embeddings", "Add embeddings to a network", AddToBundle, add_to_bundle, ("source", "embeddings", "target")),
    Tool("remove-embeddings", "Remove embeddings from a network", RemoveFromBundle, remove_from_bundle, ("source", "target")),
    Tool("rename-embedding", "Rename an embedding in a network", RenameInBundle, rename_in_bundle,
         ("source", "word", "new_word", "target")),
    Tool("clean-cache", "Delete encoded images and captions that are not used", CleanCache, clean_cache, ("folder",)),
    Tool("edit-captions", "Change many captions", EditCaptions, edit_captions, ("folder",)),
    Tool("caption-images", "Write captions by a network", CaptionImages, caption_images, ("folder",)),
    Tool("mask-images", "Make masks", MaskImages, mask_images, ("folder",)),
    Tool("prepare-images", "Cut, split, mirror and resize images", PrepareImages, prepare_images, ("folder", "target")),
)
TOOLS: Mapping[str, Tool] = {tool.name: tool for tool in _ALL}
