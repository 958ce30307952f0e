"""Where the images and their captions come from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pivotal.config.options import option


@dataclass(frozen=True)
class Dataset:
    """Images, each with a caption or with a template in its place; Concepts may add more."""

    folder: str = option(
        "", "Folder of images, each with its caption in a .txt file of the same name; or a .jsonl or .txt list of images, or "
        "hf:owner/name on Hugging Face.",
        label="Dataset folder", widget="folder", first_page=True)
    resolution: str = option(
        "", "Size of the images in training: one side, several sides in turn (512, 768), or width x height (640x512). Empty "
        "takes the checkpoint's own.", unit="px", ss="ss_resolution")
    subfolders: bool = option(False, "Takes the images in subfolders, too.")
    repeats_in_names: bool = option(
        False, "Takes a subfolder named 10_red cat as ten repeats, and red cat as the caption of images without a file.",
        source="kohya's convention")
    repeats: float = option(1.0, "Times each image is seen in an epoch; 0.1 is a tenth of them, in turn.", above=0, le=10_000)
    loss_weight: float = option(1.0, "How much its images count in the loss beside those of Concepts.", ge=0, le=100)
    captions: Literal["files", "file names", "object", "style", "own", "list"] = option(
        "files", "Takes captions from files beside the images, from the images' names, from templates, or from a list in a file.")
    caption_extension: str = option(".txt", "Ending of caption files, such as .txt or .caption.", label="Caption files end in")
    templates: tuple[str, ...] = option(
        (), "Your own templates, one per line. [name] or {} becomes the placeholders, [filewords] the caption file.",
        widget="textarea", tokens="caption", shown_when=("dataset.captions", ("own",)))
    caption_list: str = option(
        "", "Text file with one caption per line; an image gets another one each time. [name] and [filewords] work as in "
        "templates.", widget="folder", label="File of captions", shown_when=("dataset.captions", ("list",)))
    template_place: Literal["instead", "before"] = option(
        "instead", "Puts a template in the caption's place, or before it; a template with [filewords] contains it anyway.",
        label="Template and caption", shown_when=("dataset.captions", ("object", "style", "own", "list")))
    image_column: str = option("image", "Name of the images' column in a .jsonl file or a Hugging Face dataset.")
    text_column: str = option("text", "Name of the captions' column.")
    mask_column: str = option("mask", "Name of the masks' column; it need not exist.")
    regularization: Literal["images", "prediction"] = option(
        "images", "What regularization images teach: themselves, or what the model answered to their captions before the run, "
        "which costs a second pass.")
    prior_weight: float = option(1.0, "How much regularization images count in the loss.", ge=0, le=100,
                                 ss="ss_prior_loss_weight")
