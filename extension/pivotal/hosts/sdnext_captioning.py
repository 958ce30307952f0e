"""What SD.Next has that writes captions, each by the host's own call and settings. Seen with 058a7f0 (modules/caption)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from PIL import Image

from pivotal.errors import HostError
from pivotal.hosts.captioning import Describe

FAILED = re.compile(r"CLIP error: |Exception <class |Error: |(error|unknown model)$")  # its answers where others raise


def sdnext_captioners() -> Mapping[str, Describe]:
    """By the names of its page's tabs; the networks are fetched by the host when they are first used.

    With Settings > Model Offloading > Offload caption models, the host loads or moves them anew for each image.
    """
    offered = {"OpenCLiP": ("openclip", _by_clip), "Tagger": ("tagger", _by_tagger), "VLM Caption": ("vqa", _by_vlm)}
    if not _is_there("clip_interrogator"):  # the host would install it, and what it needs, in the middle of our work
        del offered["OpenCLiP"]
    return {name: describe for name, (module, describe) in offered.items() if _is_there(f"modules.caption.{module}")}


def _is_there(module: str) -> bool:
    """Whether it can be imported; older SD.Nexts have no modules.caption."""
    try:
        return find_spec(module) is not None
    except (ImportError, ValueError):
        return False


def _by_clip(image: Image.Image) -> str:
    opts = _options()
    openclip = import_module("modules.caption.openclip")
    return _checked(openclip.caption_image(image.convert("RGB"), opts.caption_openclip_model, opts.caption_openclip_blip_model,
                                           opts.caption_openclip_mode))


def _by_tagger(image: Image.Image) -> str:
    """WaifuDiffusion's or DeepBooru, whichever is chosen there."""
    name = _options().waifudiffusion_model
    tagger = import_module("modules.caption.tagger")
    if not tagger.load_model(name):
        raise _failure(name)
    return _checked(tagger.tag(image.convert("RGB"), name), may_be_empty=True)


def _by_vlm(image: Image.Image) -> str:
    opts = _options()
    vqa = import_module("modules.caption.vqa")
    return _checked(vqa.caption(question=opts.caption_vlm_prompt, system_prompt=opts.caption_vlm_system,
                                image=image.convert("RGB"), model_name=opts.caption_vlm_model))


def _options() -> Any:
    from modules import shared

    return shared.opts


def _checked(words: Any, may_be_empty: bool = False) -> str:
    """
    Args:
        may_be_empty: for tags, as there may be none above the threshold.
    """
    told = words.strip() if isinstance(words, str) else ""
    if FAILED.match(told) or not (told or may_be_empty):
        raise _failure(told)
    return told


def _failure(told: str) -> HostError:
    return HostError(f"SD.Next could not say what the image shows ({told or 'it said nothing'}); its own log has the reason. It "
                     "fetches what it needs from the internet when it is first used: try it once in its Caption tab.")
