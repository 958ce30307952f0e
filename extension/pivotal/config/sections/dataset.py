"""Where the images and their captions come from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pivotal.config.options import option


@dataclass(frozen=True)
class Dataset:
    """A folder of images, each with a caption or with a template in its place."""

    folder: str = option("", "Folder with the images to learn from; a caption is the .txt file of the same name.",
                         label="Dataset folder", widget="folder", first_page=True)
    resolution: int | None = option(
        None, "Side of the square to which each image is scaled and centre-cropped. Empty takes the checkpoint's own.",
        ge=64, le=4096, unit="px", ss="ss_resolution")
    subfolders: bool = option(False, "Takes the images in subfolders, too.")
    captions: Literal["files", "file names", "object", "style", "own"] = option(
        "files", "Takes captions from files beside the images, from the images' names, or from templates.")
    caption_extension: str = option(".txt", "Ending of caption files, as .txt or .caption.", label="Caption files end in")
    templates: tuple[str, ...] = option(
        (), "Holds your own templates, one a line. [name] or {} becomes the placeholders, [filewords] the caption file.",
        widget="textarea", tokens="caption", shown_when=("dataset.captions", ("own",)))
