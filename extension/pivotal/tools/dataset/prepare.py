"""Copies of images for a dataset: cut, split, resized, mirrored, with captions and masks; never over the images themselves."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageOps

from pivotal.data.folder import MASK
from pivotal.data.images import READ_ERRORS, open_image, upright_alpha
from pivotal.errors import DatasetError, OptionError
from pivotal.formats.atomic import write_bytes
from pivotal.tools.dataset.caption_files import read_caption, write_caption
from pivotal.tools.dataset.cutting import (
    Box,
    automatic_size,
    detail_box,
    fitted,
    middle_box,
    split_boxes,
    split_size,
)
from pivotal.tools.dataset.mask_files import read_image
from pivotal.tools.dataset.places import Place
from pivotal.tools.dataset.settings import PrepareImages
from pivotal.tools.results import path_of

_QUALITY = {"jpg": {"quality": 95, "subsampling": 0}, "webp": {"quality": 95}, "png": {}}
_FORMATS = {"jpg": "JPEG", "webp": "WEBP", "png": "PNG"}
Step = Callable[[str], str]


@dataclass(frozen=True)
class Cut:
    """One result of an image."""

    scaled: tuple[int, int]  # width, height to which it is resized
    box: Box  # what is kept of that
    suffix: str = ""  # of its name


def target_folder(settings: PrepareImages, place: Place) -> Path:
    """Where the results go.

    Raises:
        OptionError: it is empty, or the folder of the images, or within it while subfolders are taken, or a file.
    """
    folder = path_of("target", settings.target).absolute()
    if folder.exists() and not folder.is_dir():
        raise OptionError({"target": f"{folder} is a file; name a folder"})
    resolved = folder.resolve()
    if resolved == place.folder or (settings.subfolders and resolved.is_relative_to(place.folder)):
        raise OptionError({"target": f"{folder} lies among the images; name another folder, as they are never written over"})
    return resolved


@contextmanager
def preparer(settings: PrepareImages, place: Place) -> Iterator[Step]:
    """A function that writes what becomes of an image by its name, and says what it wrote.

    Raises:
        OptionError: as of `target_folder`.
    """
    folder = target_folder(settings, place)

    def prepare(name: str) -> str:
        path = place.image(name)
        image, mask = with_transparency(path, settings.format), mask_of(place, name)
        cuts = cuts_of(image, settings)
        if cuts is None:
            raise DatasetError("no allowed shape fits it; it was left out")
        made = [_Result(_stem(name) + cut.suffix + ("-flipped" if flipped else ""), cut, flipped)
                for cut in cuts for flipped in ((False, True) if settings.flip else (False,))]
        _refuse_existing(folder, made, settings)
        caption = read_caption(place.caption(name))
        for result in made:
            _write(folder, result, image, mask, settings)
            if caption is not None:
                write_caption(folder / f"{result.stem}{place.ending}", caption)
        return f"{len(made)} images"

    yield prepare


def cuts_of(image: Image.Image, settings: PrepareImages) -> list[Cut] | None:
    """What an image is cut to; None when it fits no allowed shape."""
    if settings.size == "kept":
        return [Cut(image.size, (0, 0, *image.size))]
    width, height = settings.width, settings.height
    if settings.size == "automatic":
        found = automatic_size(image.size, (settings.shortest, settings.longest), (settings.least_area, settings.largest_area),
                               settings.most_cut, settings.objective == "most area")
        if found is None:
            return None
        width, height = found
    elif settings.split:
        boxes = split_boxes(image.size, width, height, settings.split_at, settings.overlap)
        if boxes:
            scaled = split_size(image.size, width, height)
            return [Cut(scaled, box, f"-{number}") for number, box in enumerate(boxes)]
    scaled = fitted(image, width, height)
    if settings.focus == "middle":
        return [Cut(scaled, middle_box(scaled, width, height))]
    return [Cut(scaled, detail_box(image.resize(scaled, Image.Resampling.BILINEAR), width, height))]


@dataclass(frozen=True)
class _Result:
    stem: str
    cut: Cut
    flipped: bool


def with_transparency(path: Path, kind: str) -> Image.Image:
    """The upright image: RGBA where it is transparent and `kind` can hold that, else RGB on white."""
    image = read_image(path)
    if kind == "jpg":
        return image
    try:
        with open_image(path) as opened:
            alpha = upright_alpha(opened)
    except READ_ERRORS as error:
        raise DatasetError(f"{path.name} cannot be read: {error}.") from error
    if alpha is None:
        return image
    with open_image(path) as opened:
        return ImageOps.exif_transpose(opened).convert("RGBA")


def mask_of(place: Place, name: str) -> Image.Image | None:
    """The mask beside an image."""
    path = place.mask(name)
    if not path.exists():
        return None
    try:
        with open_image(path) as opened:
            return ImageOps.exif_transpose(opened).convert("L")
    except READ_ERRORS as error:
        raise DatasetError(f"{path.name} cannot be read: {error}. Repair it or delete it.") from error


def _stem(name: str) -> str:
    return name.rpartition(".")[0].replace("/", "_")


def _refuse_existing(folder: Path, made: list[_Result], settings: PrepareImages) -> None:
    for result in made:
        path = folder / f"{result.stem}.{settings.format}"
        if path.exists() and not settings.replace:
            raise DatasetError(f"{path} exists; it was left as it is. Choose another folder, or set replace.")


def _write(folder: Path, result: _Result, image: Image.Image, mask: Image.Image | None, settings: PrepareImages) -> None:
    path = folder / f"{result.stem}.{settings.format}"
    _save(path, _cut(image, result, Image.Resampling.LANCZOS), settings.format)
    if mask is not None:
        scaled = mask if mask.size == image.size else mask.resize(image.size, Image.Resampling.BILINEAR)
        _save(folder / f"{result.stem}{MASK}", _cut(scaled, result, Image.Resampling.BOX), "png")


def _cut(image: Image.Image, result: _Result, how: Image.Resampling) -> Image.Image:
    scaled = image if image.size == result.cut.scaled else image.resize(result.cut.scaled, how)
    made = scaled.crop(result.cut.box)
    return ImageOps.mirror(made) if result.flipped else made


def _save(path: Path, image: Image.Image, kind: str) -> None:
    buffer = io.BytesIO()
    image.save(buffer, _FORMATS[kind], **_QUALITY[kind])
    try:
        write_bytes(path, buffer.getvalue())
    except OSError as error:
        raise DatasetError(f"{path} cannot be written: {error.strerror or error}.") from error
