"""What a host has that writes captions: A1111's and Forge's "Interrogate CLIP" and "Interrogate DeepBooru"."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any, Protocol, runtime_checkable

from PIL import Image

from pivotal.errors import HostError

log = logging.getLogger(__name__)

Describe = Callable[[Image.Image], str]
_FAILED = "<error>"  # what A1111 1.10.1 (modules/interrogate.py) returns, or ends with, when it could not
# What it raises instead, as DeepBooru does without its file: "list index out of range" (modules/deepbooru.py).
_RAISED = (OSError, LookupError, RuntimeError, ValueError, ImportError)


@runtime_checkable
class Captioning(Protocol):
    """A host that can say what an image shows."""

    def captioners(self) -> Mapping[str, Describe]:
        """Functions from an RGB image to a caption, by the names that the page shows; called under `Host.run`."""


def webui_captioners() -> Mapping[str, Describe]:
    """Those of A1111, Forge and reForge; what they need is fetched by the host when they are first used."""
    found: dict[str, Describe] = {}
    try:
        from modules import shared

        if getattr(shared, "interrogator", None) is not None:
            found["Interrogate CLIP"] = _by_clip
        from modules import deepbooru

        if getattr(deepbooru, "model", None) is not None:
            found["Interrogate DeepBooru"] = _by_deepbooru
    except ImportError:  # a host without them
        pass
    return found


def _by_clip(image: Image.Image) -> str:
    from modules import shared

    return _answer(shared.interrogator.interrogate, image)


def _by_deepbooru(image: Image.Image) -> str:
    from modules import deepbooru

    return _answer(deepbooru.model.tag, image)


def _answer(ask: Callable[[Image.Image], Any], image: Image.Image) -> str:
    try:
        words = ask(image.convert("RGB"))
    except _RAISED:
        log.warning("The host's captioner failed.", exc_info=True)
        words = None
    if not isinstance(words, str) or words.rstrip().endswith(_FAILED):
        raise HostError("the host could not say what the image shows; its own log has the reason. It fetches what it needs from "
                        "the internet when it is first used.")
    return words.strip()
