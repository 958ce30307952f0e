"""Datasets of Hugging Face, brought to this disk once as images and captions, so that all else is a folder."""

from __future__ import annotations

import logging
import re
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps

from pivotal.data.folder import MASK, Reading, on_one_line
from pivotal.errors import DatasetError

log = logging.getLogger(__name__)

HUB = "hf:"
_ADDRESS = re.compile(r"hf:([\w.-]+/[\w.-]+)(?::([\w.-]+))?")
_SPLIT = "train"
_PNG = ("1", "L", "LA", "I", "I;16", "P", "RGB", "RGBA")  # modes that it can hold; JPEGs may be CMYK


def exported(where: str, reading: Reading, scratch: Path) -> Path:
    """The folder with the images and captions of ``hf:owner/name`` or ``hf:owner/name:split``; made where it is not there.

    Raises:
        DatasetError: the package is missing, the dataset cannot be had, or lacks a column.
    """
    found = _ADDRESS.fullmatch(where.strip())
    if not found:
        raise DatasetError(f"{where!r} is no dataset of Hugging Face; expected hf:owner/name, or hf:owner/name:split.")
    name, split = found[1], found[2] or _SPLIT
    columns = (reading.image_column, reading.text_column, reading.mask_column)
    folder = scratch / "datasets" / "--".join([name.replace("/", "--"), split, *columns])
    if folder.is_dir():
        return folder
    log.info("Fetching %s from Hugging Face into %s.", name, folder)
    rows = _rows(name, split)
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
        _write(rows, partial, reading, where)
        partial.replace(folder)  # whole or not at all
    except OSError as error:
        raise DatasetError(f"{where} could not be written to {folder}: {error.strerror or error}.") from error
    return folder


def _rows(name: str, split: str) -> Iterable[dict[str, Any]]:
    try:
        from datasets import load_dataset
    except ImportError as error:
        raise DatasetError("Datasets of Hugging Face need the package 'datasets': pip install datasets, in the WebUI's "
                           "Python.") from error
    try:
        return load_dataset(name, split=split)
    except (OSError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise DatasetError(f"hf:{name} cannot be had (split {split!r}): {reason}. Is the name right, and is this machine "
                           "online?") from error


def _write(rows: Iterable[dict[str, Any]], folder: Path, reading: Reading, where: str) -> None:
    count = 0
    for row in rows:
        image, caption, mask = (row.get(column) for column in
                                (reading.image_column, reading.text_column, reading.mask_column))
        if not isinstance(image, Image.Image):
            raise DatasetError(f"{where}: the column {reading.image_column!r} holds no images; its columns are "
                               f"{', '.join(map(repr, row))}.")
        stem = f"{count:06d}"
        upright = ImageOps.exif_transpose(image)
        (upright if upright.mode in _PNG else upright.convert("RGB")).save(folder / f"{stem}.png")
        if isinstance(caption, str):
            (folder / f"{stem}.txt").write_text(on_one_line(caption), encoding="utf-8")
        elif reading.need_captions and not (reading.from_names or reading.text):
            raise DatasetError(f"{where}: the column {reading.text_column!r} holds no texts; its columns are "
                               f"{', '.join(map(repr, row))}.")
        if isinstance(mask, Image.Image):
            mask.convert("L").save(folder / (stem + MASK))
        count += 1
    if not count:
        raise DatasetError(f"{where} has no images.")
