"""Finds the images of a folder and their captions; reports all that is wrong with them at once."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pivotal.data.headers import upright_size
from pivotal.data.images import READ_ERRORS, open_image
from pivotal.data.view import Size
from pivotal.errors import DatasetError

EXTENSIONS = frozenset({".png", ".jpg", ".jpeg", ".jfif", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif", ".jxl"})
MASK = "-masklabel.png"  # ends the name of a mask beside an image, as in OneTrainer; it is no image of the dataset
_CONDITION = "-condlabel.png"  # likewise, what OneTrainer shows models that are conditioned on images
DECODED = 256  # so many images are decoded whole before the start, about 20 ms each; of more only the headers


@dataclass(frozen=True)
class Item:
    """An image of a dataset."""

    path: Path
    caption: str | None  # on one line; None when it has none
    size: Size = (0, 0)  # of the upright image
    mask: Path | None = None  # of a source that names it; else it may lie beside the image
    concept: int = 0  # which of the run's concepts it belongs to
    lines: tuple[str, ...] = ()  # of a caption of several lines, where one of them is taken each time


@dataclass(frozen=True)
class Reading:
    """How a source is read."""

    need_captions: bool = True  # whether an image without a caption is an error
    from_names: bool = False  # takes captions from the images' names
    text: str = ""  # caption of images that have none of their own
    only_text: bool = False  # takes `text` for all
    extension: str = ".txt"  # of caption files, which have their image's name
    one_line: bool = False  # takes one line of a caption file each time
    subfolders: bool = False
    repeats_in_names: bool = False  # takes subfolders as kohya names them
    image_column: str = "image"
    text_column: str = "text"
    mask_column: str = "mask"


def image_files(folder: Path, *, subfolders: bool = False) -> list[Path]:
    """The images in `folder`, by name; those in its subfolders too, if asked, by their paths.

    Raises:
        DatasetError: `folder` is missing, is no folder, cannot be read, or holds no image.
    """
    files = list(files_in(folder, subfolders))
    images = sorted((path for path in files if is_image(path)), key=lambda path: path.relative_to(folder).parts)
    if not images:
        others = f"found {len(files)} other file{'' if len(files) == 1 else 's'}" if files else "the folder is empty"
        raise DatasetError(f"{folder}: no images. Expected .png, .jpg, .webp, .avif or the like; {others}.")
    return images


def is_image(path: Path) -> bool:
    """Whether a file is one of the dataset's images, judged by its name."""
    return path.suffix.lower() in EXTENSIONS and path.name[0] != "." and not path.name.endswith((MASK, _CONDITION))


def files_in(folder: Path, subfolders: bool = False) -> Iterator[Path]:
    """Files of `folder`.

    Raises:
        DatasetError: it is missing, is no folder or cannot be read.
    """
    if not folder.exists():
        raise DatasetError(f"{folder} does not exist.")
    if not folder.is_dir():
        raise DatasetError(f"{folder} is a file; expected the folder that holds the images, or a .jsonl or .txt list.")
    try:
        yield from _files(folder, subfolders)
    except OSError as error:
        raise DatasetError(f"{folder} cannot be read: {error.strerror or error}.") from error


def _files(folder: Path, subfolders: bool) -> Iterator[Path]:
    """Files of `folder`, hidden folders left out; os.scandir asks the system once for many."""
    for entry in os.scandir(folder):
        if entry.is_file():
            yield Path(entry.path)
        elif subfolders and entry.is_dir() and not entry.name.startswith("."):
            yield from _files(Path(entry.path), subfolders)


def read_items(folder: Path, reading: Reading) -> list[Item]:
    """Every image of `folder` with its caption.

    Raises:
        DatasetError: one sentence for each kind of trouble, each naming the first files it concerns.
    """
    found, troubles = [], []
    for path in image_files(folder, subfolders=reading.subfolders):
        try:
            found.append(captioned(Item(path, None), reading))
        except DatasetError as error:
            troubles.append(str(error))
            found.append(Item(path, "-"))  # its caption is told of already
    return checked(found, reading, troubles)


def captioned(item: Item, reading: Reading) -> Item:
    """`item` with the caption that lies beside it or is in its name; with its own if it has one.

    Raises:
        DatasetError: the caption file cannot be read.
    """
    if reading.only_text:
        return replace(item, caption=reading.text)
    if reading.from_names:
        return replace(item, caption=caption_in_name(item.path) or reading.text)
    lines = [item.caption] if item.caption is not None else read_lines(item.path.with_suffix(reading.extension))
    if lines is None:
        return replace(item, caption=reading.text or None)
    several = tuple(lines) if reading.one_line and len(lines) > 1 else ()
    return replace(item, caption=several[0] if several else " ".join(lines), lines=several)


def checked(items: Sequence[Item], reading: Reading, troubles: Sequence[str] = ()) -> list[Item]:
    """`items` with their sizes, if nothing is wrong with them.

    Raises:
        DatasetError: with `troubles` and every kind of trouble of images and captions.
    """
    sized, unreadable = _opened(items)
    found = unreadable + _caption_troubles(items, reading) if reading.need_captions else unreadable
    found += [*troubles[:3], *([f"And {len(troubles) - 3} more of this kind."] if len(troubles) > 3 else [])]
    if found:
        raise DatasetError(" ".join(found))
    return sized


def _caption_troubles(items: Sequence[Item], reading: Reading) -> list[str]:
    missing = [item.path.name for item in items if item.caption is None]
    empty = [item.path for item in items if item.caption == ""]
    troubles = []
    if missing:
        troubles.append(f"{len(missing)} of {len(items)} images have no caption file ({_names(missing)}); write one beside "
                        "each, or take captions from templates.")
    if empty and reading.only_text:
        troubles.append("The caption text is empty; write what the images show.")
    elif empty:
        kind = "file names say nothing" if reading.from_names else "caption files are empty"
        names = [path.name if reading.from_names else path.with_suffix(reading.extension).name for path in empty]
        troubles.append(f"{len(empty)} {kind} ({_names(names)}); write what the image shows.")
    return troubles


def caption_in_name(path: Path) -> str:
    """``01_a_red cat-2.png`` as "a red cat": without numbers at its ends, and with blanks for underscores."""
    words = unicodedata.normalize("NFC", path.stem).replace("_", " ")
    return " ".join(re.sub(r"^[\s\d-]+|[\s(\d)-]+$", "", words).split())


def read_lines(path: Path) -> list[str] | None:
    """The lines of a caption file that are not empty; None when there is no such file.

    Raises:
        DatasetError: it cannot be read, or is not UTF-8.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        return None
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path.name} is not UTF-8 text (byte {error.start}); save it as UTF-8.") from error
    except OSError as error:
        raise DatasetError(f"{path.name} cannot be read: {error.strerror or error}.") from error
    return [line for line in map(on_one_line, text.splitlines()) if line]


def on_one_line(text: str) -> str:
    """`text` with single blanks, in the form in which placeholders are typed: macOS writes NFD."""
    return unicodedata.normalize("NFC", " ".join(text.split()))


def _opened(items: Sequence[Item]) -> tuple[list[Item], list[str]]:
    """`items` with their sizes, and a sentence about those that cannot be read."""
    sized, bad = [], []
    for item in items:
        try:
            with open_image(item.path) as image:
                if len(items) <= DECODED:
                    image.load()
                sized.append(replace(item, size=upright_size(image)))
        except READ_ERRORS as error:
            bad.append((item.path.name, " ".join(str(error).split())[:120]))
    if not bad:
        return sized, []
    name, reason = bad[0]
    return sized, [f"{len(bad)} of {len(items)} images cannot be read ({_names([name for name, _ in bad])}): {name}: {reason}. "
                   "Repair them or take them out."]


def _names(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
