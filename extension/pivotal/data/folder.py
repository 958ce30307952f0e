"""Finds the images of a dataset and their captions; reports all that is wrong with them at once."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pivotal.data.images import READ_ERRORS, open_image
from pivotal.errors import DatasetError

EXTENSIONS = frozenset({".png", ".jpg", ".jpeg", ".jfif", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif", ".jxl"})
MASK = "-masklabel.png"  # ends the name of a mask beside an image, as in OneTrainer; it is no image of the dataset
DECODED = 256  # so many images are decoded whole before the start, about 20 ms each; of more only the headers


@dataclass(frozen=True)
class Item:
    """An image and the text of its caption file; None when it has none."""

    path: Path
    caption: str | None


def image_files(folder: Path, *, subfolders: bool = False) -> list[Path]:
    """The images in `folder`, by name; those in its subfolders too, if asked, by their paths.

    Raises:
        DatasetError: `folder` is missing, is no folder, cannot be read, or holds no image.
    """
    if not folder.exists():
        raise DatasetError(f"{folder} does not exist.")
    if not folder.is_dir():
        raise DatasetError(f"{folder} is a file; expected the folder that holds the images.")
    try:
        files = list(_files(folder, subfolders))
    except OSError as error:
        raise DatasetError(f"{folder} cannot be read: {error.strerror or error}.") from error
    images = sorted((path for path in files if path.suffix.lower() in EXTENSIONS and path.name[0] != "."
                     and not path.name.endswith(MASK)), key=lambda path: path.relative_to(folder).parts)
    if not images:
        raise DatasetError(f"{folder}: no images. Expected .png, .jpg, .webp, .avif or the like; "
                           f"found {len(files)} other files.")
    return images


def _files(folder: Path, subfolders: bool) -> Iterator[Path]:
    """Files of `folder`, hidden folders left out; os.scandir asks the system once for many."""
    for entry in os.scandir(folder):
        if entry.is_file():
            yield Path(entry.path)
        elif subfolders and entry.is_dir() and not entry.name.startswith("."):
            yield from _files(Path(entry.path), subfolders)


def read_items(folder: Path, *, need_captions: bool, subfolders: bool = False, extension: str = ".txt",
               from_names: bool = False) -> list[Item]:
    """Every image of `folder` with its caption.

    Args:
        need_captions: whether an image without a caption is an error.
        extension: of caption files, which have their image's name.
        from_names: takes captions from the images' names instead.

    Raises:
        DatasetError: one sentence for each kind of trouble, each naming the first files it concerns.
    """
    paths = image_files(folder, subfolders=subfolders)
    troubles = _unreadable(paths)
    items, missing, empty, unreadable = [], [], [], []
    for path in paths:
        try:
            caption = caption_in_name(path) if from_names else read_caption(path.with_suffix(extension))
        except DatasetError as error:
            unreadable.append(str(error))
            continue
        if caption is None:
            missing.append(path.name)
        elif not caption:
            empty.append(path.name if from_names else path.with_suffix(extension).name)
        items.append(Item(path, caption))
    if need_captions and missing:
        troubles.append(f"{len(missing)} of {len(paths)} images have no caption file ({_names(missing)}); write one beside "
                        "each, or take captions from templates.")
    if need_captions and empty:
        troubles.append(f"{len(empty)} {'file names say nothing' if from_names else 'caption files are empty'} "
                        f"({_names(empty)}); write what the image shows.")
    troubles += unreadable[:3]
    if troubles:
        raise DatasetError(" ".join(troubles))
    return items


def caption_in_name(path: Path) -> str:
    """``01_a_red cat-2.png`` as "a red cat": without numbers at its ends, and with blanks for underscores."""
    words = unicodedata.normalize("NFC", path.stem).replace("_", " ")
    return " ".join(re.sub(r"^[\s\d-]+|[\s(\d)-]+$", "", words).split())


def read_caption(path: Path) -> str | None:
    """The text of a caption file on one line; None when there is no such file."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        return None
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path.name} is not UTF-8 text (byte {error.start}); save it as UTF-8.") from error
    except OSError as error:
        raise DatasetError(f"{path.name} cannot be read: {error.strerror or error}.") from error
    return unicodedata.normalize("NFC", " ".join(text.split()))  # as placeholders are typed: macOS writes NFD


def _unreadable(paths: Sequence[Path]) -> list[str]:
    found = []
    for path in paths:
        try:
            with open_image(path) as image:
                if len(paths) <= DECODED:
                    image.load()
        except READ_ERRORS as error:
            found.append((path.name, " ".join(str(error).split())[:120]))
    if not found:
        return []
    name, reason = found[0]
    return [f"{len(found)} of {len(paths)} images cannot be read ({_names([name for name, _ in found])}): {name}: {reason}. "
            "Repair them or take them out."]


def _names(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


