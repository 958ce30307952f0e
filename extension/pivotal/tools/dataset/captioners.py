"""Captions that a network writes: the host's own interrogators, BLIP, or WD14."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from PIL import Image

from pivotal.errors import OptionError
from pivotal.tools.dataset.loading import blip
from pivotal.tools.dataset.settings import CaptionImages
from pivotal.tools.dataset.wd14 import wd14

Describe = Callable[[Image.Image], str]
_MODELS = {"BLIP": "Salesforce/blip-image-captioning-base", "WD14": "SmilingWolf/wd-vit-tagger-v3"}


@contextmanager
def captioner(settings: CaptionImages, of_host: Mapping[str, Describe], name: str) -> Iterator[Describe]:
    """A function from an RGB image to what it shows; a network is loaded only here.

    Args:
        of_host: the host's own, by their names.
        name: which one: one of `of_host`, or one of CaptionImages.captioner.

    Raises:
        OptionError: there is none of that name, or a package is missing.
        DatasetError: the network cannot be had.
    """
    if name in of_host:
        yield of_host[name]
    elif name == "WD14":
        yield wd14(settings.model.strip() or _MODELS[name], settings.threshold)
    elif name == "BLIP":
        with blip(settings.model.strip() or _MODELS[name], settings.start) as describe:
            yield describe
    else:
        raise OptionError({"captioner": f"there is no {name!r} here; there are {', '.join([*_MODELS, *of_host])}"})


def placed(words: str, old: str | None, place: str) -> str | None:
    """The caption after `words` were put to the old one; None when it is to stay as it is.

    Args:
        place: one of CaptionImages.place.
    """
    if not words.strip():
        return None
    if not (old or "").strip() or place == "replace":
        return words
    if place == "only missing":
        return None
    return f"{words}, {old}" if place == "before" else f"{old}, {words}"
