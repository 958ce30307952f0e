"""What the tools for datasets are told, declared once: flags, fields and checks come from here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pivotal.config.options import option

_FOLDER = {"widget": "folder"}


def _folder() -> str:
    return option("", "Folder of images.", label="Dataset folder", **_FOLDER)


def _subfolders() -> bool:
    return option(False, "Takes the images in subfolders, too.")


def _ending() -> str:
    return option("", "Ending of caption files, such as .txt or .caption. Empty takes what most of the folder's end in.",
                  label="Caption files end in")


@dataclass(frozen=True)
class EditCaptions:
    """Changes many captions at once, or tells what would change; the Dataset page can also undo it."""

    folder: str = _folder()
    action: Literal["replace", "prefix", "suffix", "add tag", "remove tag", "rename tag", "sort tags", "unique tags"] = option(
        "replace", "What is done to each caption; tags are what stands between commas.")
    find: str = option("", "Words or tag to look for.", shown_when=("action", ("replace", "add tag", "remove tag", "rename tag")))
    text: str = option("", "What takes their place, or is put before or after the caption.", label="By",
                       shown_when=("action", ("replace", "prefix", "suffix", "rename tag")))
    is_regular: bool = option(False, "Takes the words to look for as a regular expression; \\1 in the other text is its group.",
                              label="Regular expression", shown_when=("action", ("replace",)))
    any_case: bool = option(False, "Ignores the difference between capitals and small letters.", label="Any case",
                            shown_when=("action", ("replace", "add tag", "remove tag", "rename tag")))
    preview: bool = option(True, "Only tells how many captions would change.")
    subfolders: bool = _subfolders()
    ending: str = _ending()


@dataclass(frozen=True)
class CaptionImages:
    """Writes captions by a network that looks at the images."""

    folder: str = _folder()
    captioner: Literal["BLIP", "WD14"] = option(
        "BLIP", "BLIP writes a sentence, WD14 tags; the host's own captioners are on the Dataset page.")
    model: str = option("", "Name on Hugging Face, or folder, of the network. Empty takes "
                        "Salesforce/blip-image-captioning-base or SmilingWolf/wd-vit-tagger-v3.")
    start: str = option("", "Words that the sentence begins with, such as a photo of.", shown_when=("captioner", ("BLIP",)))
    threshold: float = option(0.35, "How sure WD14 must be of a tag.", ge=0, le=1, step=0.01,
                              shown_when=("captioner", ("WD14",)))
    place: Literal["only missing", "replace", "before", "behind"] = option(
        "only missing", "Writes only captions that are missing or empty, or replaces the old ones, or adds to them.")
    subfolders: bool = _subfolders()
    ending: str = _ending()


@dataclass(frozen=True)
class MaskImages:
    """Writes a mask beside each image: white is learned, black is not."""

    folder: str = _folder()
    how: Literal["words", "rembg", "colour", "transparency"] = option(
        "words", "Selects what the words name (CLIPSeg), what stands before the background (rembg), what has a colour, or what "
        "is opaque.", label="Selected by")
    prompt: str = option("", "What the masks should show, such as a face.", label="Words", shown_when=("how", ("words",)))
    model: str = option("CIDAS/clipseg-rd64-refined", "Name on Hugging Face, or folder, of the CLIPSeg network.",
                        shown_when=("how", ("words",)))
    rembg_model: str = option("u2net", "Name of rembg's model; u2net_human_seg finds people.", label="Model of rembg",
                              shown_when=("how", ("rembg",)))
    colour: str = option("#00ff00", "Colour that is selected, such as #00ff00 or green.", shown_when=("how", ("colour",)))
    threshold: float = option(0.3, "What is selected at least this surely becomes white, all else black; 0 keeps the greys. For "
                              "a colour, 1 is that colour only.", ge=0, le=1, step=0.01)
    grow: int = option(10, "Makes white places larger to each side; below 0 smaller.", ge=-512, le=512, unit="px")
    blur: float = option(5.0, "Softens the edges by this much; 0 leaves them hard.", ge=0, le=200, unit="px")
    invert: bool = option(False, "Makes what was selected black.")
    combine: Literal["fill", "replace", "add", "subtract"] = option(
        "fill", "Makes only masks that are missing, or replaces the old ones, or makes more, or less, of them white.",
        label="Masks that are there")
    subfolders: bool = _subfolders()


@dataclass(frozen=True)
class PrepareImages:
    """Copies of images, cut and resized, with their captions and masks, in another folder."""

    folder: str = _folder()
    target: str = option("", "Folder to write to; it must not be the one with the images.", label="Result", **_FOLDER)
    size: Literal["kept", "cut", "automatic"] = option(
        "cut", "Keeps the size, cuts to width and height, or cuts to the nearest shape within the limits.")
    width: int = option(512, "Width of the results.", ge=8, le=8192, unit="px", shown_when=("size", ("cut",)))
    height: int = option(512, "Height of the results.", ge=8, le=8192, unit="px", shown_when=("size", ("cut",)))
    shortest: int = option(384, "Least side.", ge=64, le=8192, unit="px", shown_when=("size", ("automatic",)))
    longest: int = option(768, "Largest side.", ge=64, le=8192, unit="px", shown_when=("size", ("automatic",)))
    least_area: int = option(64 * 64, "Least area.", ge=4096, le=8192 * 8192, unit="px", shown_when=("size", ("automatic",)))
    largest_area: int = option(640 * 640, "Largest area.", ge=4096, le=8192 * 8192, unit="px",
                               shown_when=("size", ("automatic",)))
    objective: Literal["most area", "least cut off"] = option(
        "most area", "Which of the shapes within the limits is taken.", shown_when=("size", ("automatic",)))
    most_cut: float = option(0.1, "Shapes that would cut off a larger share of the image are not taken; an image that fits none "
                             "is left out.", ge=0, le=1, step=0.01, label="Cut off at most", shown_when=("size", ("automatic",)))
    focus: Literal["middle", "detail"] = option("middle", "Cuts around the middle, or where the image has most detail.")
    split: bool = option(False, "Takes images that are much longer than the results apart.", label="Split long images",
                         shown_when=("size", ("cut",)))
    split_at: float = option(0.5, "Images whose shape, divided by that of the results, is at most this are split.", ge=0, le=1,
                             step=0.01, label="Split at", shown_when=("split", (True,)))
    overlap: float = option(0.2, "Share of a part that the next one shows, too.", ge=0, le=0.9, step=0.01,
                            shown_when=("split", (True,)))
    flip: bool = option(False, "Writes a mirrored copy of each, too.", label="Mirrored copies")
    format: Literal["png", "jpg", "webp"] = option("png", "Format of the results; png loses nothing.")
    subfolders: bool = _subfolders()
    ending: str = _ending()
    replace: bool = option(False, "Writes over existing files; otherwise it is an error.", label="Replace")

    def problems(self) -> dict[str, str]:
        if self.size != "automatic":
            return {}
        found = {}
        if self.shortest > self.longest:
            found["shortest"] = f"{self.shortest} px is more than the largest side, {self.longest} px"
        if self.least_area > self.largest_area:
            found["least_area"] = f"{self.least_area} px is more than the largest area, {self.largest_area} px"
        return found
