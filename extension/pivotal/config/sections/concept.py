"""More sources of images for a run, each with rules of its own: a row of the table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pivotal.config.options import option

ConceptCaptions = Literal["as the run", "files", "file names", "object", "style", "own", "text"]


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
    images_per_epoch: int | None = option(None, "Exactly so many images in an epoch, in turn. Empty: as the repeats say.",
                                          ge=1, le=10_000_000)
    loss_weight: float = option(1.0, "How much its images count in the loss.", ge=0, le=100)
    captions: ConceptCaptions = option(
        "as the run", "Where its captions come from: as in the dataset's own option, or from the text below.")
    text: str = option("", "Caption of its images that have no caption file; with captions from text, of all of them.",
                       tokens="caption", label="Caption text")
    trigger_word: str = option("", "Word that begins each caption in which it does not stand yet. Empty: as the run.",
                               tokens="caption")
    prefix: str = option("", "Text before each caption. Empty: as the run.", tokens="caption", label="Caption prefix")
    subfolders: bool = option(False, "Takes the images in subfolders, too.")
    repeats_in_names: bool = option(False, "Takes subfolders named 10_cat as repeats and captions, as the dataset's option does.")
    augment: Literal["as the run", "off"] = option("as the run", "Whether its images are changed as Augment says.")
    enabled: bool = option(True, "Uses it. Off: it stays in the form, and the run does not know it.", first_page=True)
