"""More sources of images for a run, each with rules of its own: a row of the table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pivotal.config.options import option

OnOff = Literal["as the run", "on", "off"]
ConceptCaptions = Literal["as the run", "files", "file names", "object", "style", "own", "list", "text"]


@dataclass(frozen=True)
class Concept:
    """A set of images beside those of the dataset: another thing to learn, regularization, or images held out."""

    folder: str = option("", "Where its images are: all that Dataset takes.", label="Images", widget="folder", first_page=True)
    name: str = option("", "What it is called in the plan and in measurements. Empty takes the folder's name.",
                       label="Concept name")
    kind: Literal["training", "regularization", "validation"] = option(
        "training", "Whether it is learned, keeps what the model knew (other things of its kind), or is only measured on.",
        first_page=True)
    repeats: float = option(
        1.0, "Times each image is seen in an epoch; 0.1 is a tenth of them, in turn. Of regularization: 1 is as many "
        "images as are trained on.", above=0, le=10_000, first_page=True)
    images_per_epoch: int | None = option(None, "Exactly this many images in an epoch, in turn. Empty: as the repeats say.",
                                          ge=1, le=10_000_000)
    loss_weight: float = option(1.0, "How much its images count in the loss.", ge=0, le=100)
    captions: ConceptCaptions = option(
        "as the run", "Where its captions come from: as in the dataset's own option, or from the text below.")
    caption_list: str = option("", "Text file with one caption per line, for captions from a list. Empty: as the run.",
                               widget="folder", label="File of captions")
    text: str = option("", "Caption of its images that have no caption file; with captions from text, of all of them.",
                       tokens="caption", label="Caption text")
    trigger_word: str = option("", "Word put before each caption that does not contain it yet. Empty: as the run.",
                               tokens="caption")
    prefix: str = option("", "Text before each caption. Empty: as the run.", tokens="caption", label="Caption prefix")
    suffix: str = option("", "Text after each caption. Empty: as the run.", tokens="caption", label="Caption suffix")
    keep_tags: int | None = option(
        None, "Number of tags at the beginning that are neither shuffled nor dropped. Empty: as the run.", ge=0, le=1000)
    tag_dropout: float | None = option(None, "Share of tags that are left out, anew each time. Empty: as the run.", ge=0, le=1)
    tags_to_drop: tuple[str, ...] = option((), "Tags that may be left out, one per line. Empty: as the run.", widget="textarea")
    tags_to_keep: tuple[str, ...] = option(
        (), "Tags that are never left out, one per line. Empty: as the run.", widget="textarea")
    shuffle: OnOff = option("as the run", "Shuffles the tags each time.", label="Shuffle tags")
    dropout: float | None = option(None, "Share of captions that are left out whole. Empty: as the run.", ge=0, le=1,
                                   label="Caption dropout")
    subfolders: bool = option(False, "Takes the images in subfolders, too.")
    repeats_in_names: bool = option(False, "Takes subfolders named 10_cat as repeats and captions, as the dataset's option does.")
    resolution: str = option("", "Size of its images in training, written as the dataset's: 768, 512, 768 or 640x512. Empty: as "
                             "the run.", unit="px")
    augment: Literal["as the run", "off"] = option("as the run", "Whether its images are changed as Augment says. Off: only as "
                                                   "the fields below say.")
    flip: float | None = option(None, "Mirrors its images left to right this often. Empty: as the run.", ge=0, le=1)
    random_crop: OnOff = option("as the run", "Cuts what does not fit a size off at random sides.")
    rotation: float | None = option(None, "Turns its images at most so far either way. Empty: as the run.", ge=0, le=180,
                                    unit="degrees")
    brightness: float | None = option(None, "Changes the brightness by this share at most. Empty: as the run.", ge=0, le=1)
    contrast: float | None = option(None, "Changes the contrast by this share at most. Empty: as the run.", ge=0, le=1)
    saturation: float | None = option(None, "Changes the saturation by this share at most. Empty: as the run.", ge=0, le=1)
    hue: float | None = option(None, "Shifts the colours by this part of the colour circle at most. Empty: as the run.", ge=0,
                               le=0.5)
    enabled: bool = option(True, "Uses it. Off: it stays in the form, and the run does not know it.", first_page=True)
