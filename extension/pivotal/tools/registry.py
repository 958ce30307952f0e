"""Every tool by name; the command line and the page are made from this table. tools/work.py has what does their work."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pivotal.tools.dataset.settings import CaptionImages, EditCaptions, MaskImages, PrepareImages
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
    """One tool: what it is called, and what it is told."""

    name: str  # on the command line
    title: str  # on the page
    section: type  # a dataclass of options
    given: tuple[str, ...]  # options that a command line has without a flag, in order


_ALL = (
    Tool("resize", "Resize a network", Resize, ("source", "target")),
    Tool("merge", "Merge networks", Merge, ("sources", "target")),
    Tool("extract", "Extract a LoRA from two checkpoints", Extract, ("base", "tuned", "target")),
    Tool("convert-keys", "Convert a network's names", ConvertKeys, ("source", "target")),
    Tool("convert-embedding", "Convert an embedding", ConvertEmbedding, ("source", "target")),
    Tool("split-bundle", "Take the embeddings out of a network as files", SplitBundle, ("source",)),
    Tool("add-embeddings", "Add embeddings to a network", AddToBundle, ("source", "embeddings", "target")),
    Tool("remove-embeddings", "Remove embeddings from a network", RemoveFromBundle, ("source", "target")),
    Tool("rename-embedding", "Rename an embedding in a network", RenameInBundle,
         ("source", "word", "new_word", "target")),
    Tool("clean-cache", "Delete encoded images and captions that are not used", CleanCache, ("folder",)),
    Tool("edit-captions", "Change many captions", EditCaptions, ("folder",)),
    Tool("caption-images", "Write captions by a network", CaptionImages, ("folder",)),
    Tool("mask-images", "Make masks", MaskImages, ("folder",)),
    Tool("prepare-images", "Cut, split, mirror and resize images", PrepareImages, ("folder", "target")),
)
TOOLS: Mapping[str, Tool] = {tool.name: tool for tool in _ALL}
