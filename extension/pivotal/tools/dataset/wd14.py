"""Tags by the WD14 taggers of SmilingWolf, with onnxruntime."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from huggingface_hub import hf_hub_download
from PIL import Image

from pivotal.errors import DatasetError, OptionError

_GENERAL, _CHARACTER = 0, 4  # categories in selected_tags.csv; 9 are ratings
_MODEL, _TAGS = "model.onnx", "selected_tags.csv"
_FACES = frozenset({"0_0", "(o)_(o)", "+_+", "+_-", "._.", "<o>_<o>", "<|>_<|>", "=_=", ">_<", "3_3", "6_9", ">_o", "@_@", "^_^",
                    "o_o", "u_u", "x_x", "|_|", "||_||"})  # their underscores are mouths


def wd14(name: str, threshold: float) -> Callable[[Image.Image], str]:
    """A function from an RGB image to its tags, the surest first.

    Args:
        name: a folder with model.onnx and selected_tags.csv, or a name on Hugging Face.
        threshold: of sureness, 0..1; surer tags are told.

    Raises:
        OptionError: onnxruntime is not installed.
        DatasetError: the tagger cannot be had.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise OptionError({"captioner": "needs the package onnxruntime; run pip install onnxruntime in the host's environment"}
                          ) from error
    model, table = _file(name, _MODEL), _file(name, _TAGS)
    session = onnxruntime.InferenceSession(str(model), providers=onnxruntime.get_available_providers())
    tags, put = _tags(table), session.get_inputs()[0]

    def describe(image: Image.Image) -> str:
        sureness = session.run(None, {put.name: _squared(image, put.shape[1])})[0][0]
        return ", ".join(chosen(tags, sureness, threshold))

    return describe


def chosen(tags: Sequence[tuple[str, int]], sureness: Any, threshold: float) -> list[str]:
    """Names of the tags that are sure enough, characters first, then the surest; ratings are left out."""
    pairs = [(category != _CHARACTER, -float(value), name) for (name, category), value in zip(tags, sureness, strict=True)
             if value > threshold and category in (_GENERAL, _CHARACTER)]
    return [name if name in _FACES else name.replace("_", " ") for _, _, name in sorted(pairs)]


def _squared(image: Image.Image, side: int) -> np.ndarray:
    """(1, side, side, 3), BGR, 0..255: padded with white to a square, as the taggers were trained."""
    longer = max(image.size)
    square = Image.new("RGB", (longer, longer), "white")
    square.paste(image, ((longer - image.width) // 2, (longer - image.height) // 2))
    pixels = np.asarray(square.resize((side, side), Image.Resampling.BICUBIC), dtype=np.float32)
    return np.ascontiguousarray(pixels[None, :, :, ::-1])


def _tags(path: Path) -> list[tuple[str, int]]:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return [(row["name"], int(row["category"])) for row in csv.DictReader(file)]
    except (OSError, KeyError, ValueError) as error:
        raise DatasetError(f"{path} is no list of tags: {error}.") from error


def _file(name: str, file: str) -> Path:
    folder = Path(name).expanduser()
    if folder.is_dir():
        if not (folder / file).is_file():
            raise DatasetError(f"{folder} holds no {file}; a tagger's folder has {_MODEL} and {_TAGS}.")
        return folder / file
    try:
        return Path(hf_hub_download(name, file))
    except (OSError, ValueError) as error:
        raise DatasetError(f"{name!r} is not on this disk and cannot be fetched. Fetch it on a machine that has a connection to "
                           f"the internet (huggingface-cli download {name} --local-dir FOLDER), and give that folder."
                           ) from error
