"""Networks that look at images. They are loaded only when they are asked for, and given back to nobody: they go with the work."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from PIL import Image
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from pivotal.errors import DatasetError, OptionError

# What the networks were trained with; their processors' files say the same, but newer ones need torchvision.
_CLIP = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_CLIPSEG_SIDE = 352  # px, of CLIPSegProcessor; the position embeddings are stretched to it
_LONGEST_CAPTION = 64  # tokens


def device() -> torch.device:
    """Where networks run: the card if there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@contextmanager
def _given_back() -> Iterator[None]:
    try:
        yield
    finally:
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


@contextmanager
def blip(name: str, start: str = "") -> Iterator[Callable[[Image.Image], str]]:
    """A function from an RGB image to a sentence (BLIP, Li et al. 2022, arXiv:2201.12086).

    Args:
        name: a folder, or a name on Hugging Face.
        start: words that the sentence begins with.

    Raises:
        DatasetError: it cannot be had.
    """
    with _given_back():
        model = loaded(transformers.BlipForConditionalGeneration, name).to(device()).eval()
        tokenizer = loaded(transformers.AutoTokenizer, name)
        side = model.config.vision_config.image_size

        @torch.inference_mode()
        def describe(image: Image.Image) -> str:
            words = tokenizer(start.strip(), return_tensors="pt").input_ids.to(device()) if start.strip() else None
            tokens = model.generate(pixel_values=_pixels(image, side, *_CLIP), input_ids=words, max_new_tokens=_LONGEST_CAPTION,
                                    num_beams=3)
            return " ".join(tokenizer.decode(tokens[0], skip_special_tokens=True).split())

        yield describe


@contextmanager
def clipseg(name: str, prompt: str) -> Iterator[Callable[[Image.Image], np.ndarray]]:
    """A function from an RGB image to where `prompt` is seen in it: (height, width), 0..1 (CLIPSeg, arXiv:2112.10003).

    Raises:
        OptionError: the prompt is empty.
        DatasetError: it cannot be had.
    """
    if not prompt.strip():
        raise OptionError({"prompt": "needs words for what the masks shall show"})
    with _given_back():
        model = loaded(transformers.CLIPSegForImageSegmentation, name).to(device()).eval()
        tokens = loaded(transformers.AutoTokenizer, name)([prompt.strip()], return_tensors="pt", truncation=True,
                                                          max_length=model.config.text_config.max_position_embeddings)

        @torch.inference_mode()
        def select(image: Image.Image) -> np.ndarray:
            logits = model(input_ids=tokens.input_ids.to(device()), attention_mask=tokens.attention_mask.to(device()),
                           pixel_values=_pixels(image, _CLIPSEG_SIDE, *_IMAGENET)).logits
            seen = torch.sigmoid(logits.float()).reshape(1, 1, *logits.shape[-2:])
            return F.interpolate(seen, size=image.size[::-1], mode="bilinear", align_corners=False)[0, 0].cpu().numpy()

        yield select


def rembg_remover(model: str) -> Callable[[Path, Image.Image], np.ndarray]:
    """A function that finds what stands before the background, with rembg.

    Raises:
        OptionError: it is not installed.
    """
    try:
        import rembg
    except ImportError as error:
        raise OptionError({"how": "needs the package rembg; run pip install \"rembg[cpu]\" in the host's environment"}) from error
    try:
        session = rembg.new_session(model)
    except (OSError, ValueError) as error:
        raise DatasetError(f"rembg has no model {model!r} on this disk and could not fetch it: {_first_line(error)}. It fetches "
                           "one when it is first used with a connection to the internet.") from error

    def select(_path: Path, image: Image.Image) -> np.ndarray:
        return np.asarray(rembg.remove(image, session=session, only_mask=True).convert("L"), dtype=np.float32) / 255

    return select


def loaded(kind: Any, name: str) -> Any:
    """A model or tokenizer by its name or folder; weights are read from .safetensors only, as other files may hold code.

    Raises:
        DatasetError: it is not on this disk and cannot be fetched, or is of another kind.
    """
    folder = Path(name).expanduser()
    extra = {} if kind is transformers.AutoTokenizer else {"use_safetensors": True}
    try:
        if folder.is_dir():
            return kind.from_pretrained(str(folder), **extra)
        try:  # what was fetched once needs no connection, and no waiting for one
            return kind.from_pretrained(name, local_files_only=True, **extra)
        except OSError:
            return kind.from_pretrained(name, **extra)
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise DatasetError(
            f"{name!r} cannot be loaded: {_first_line(error)} If this machine has no connection to the internet, fetch it on one "
            f"that has (huggingface-cli download {name} --local-dir FOLDER), and give that folder as the model.") from error


def has_package(name: str) -> bool:
    return importlib.util.find_spec(name) is not None


def _first_line(error: Exception) -> str:
    text = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
    return text if text.endswith(".") else text + "."


def _pixels(image: Image.Image, side: int, mean: tuple[float, ...], deviation: tuple[float, ...]) -> Tensor:
    """(1, 3, side, side), as the network was trained."""
    small = np.asarray(image.convert("RGB").resize((side, side), Image.Resampling.BICUBIC), dtype=np.float32) / 255
    made = (small - np.array(mean, dtype=np.float32)) / np.array(deviation, dtype=np.float32)
    return torch.from_numpy(made).permute(2, 0, 1)[None].to(device())
