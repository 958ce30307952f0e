"""What the txt2img tab asks for and gets: prompts with embeddings and LoRAs in, images with their infotext out."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from PIL import Image
from torch import Tensor

from pivotal.errors import FormatError, HostError
from pivotal.hosts.embedded.library import Embeddings
from pivotal.hosts.embedded.lora import LoraFolder, Wish, applied, read_lora
from pivotal.hosts.embedded.prompt_tags import LoraTag, take_tags
from pivotal.models.diffusion import DiffusionModel
from pivotal.models.generate import GenerateSettings, conditioning_for, generate, negative_for
from pivotal.models.samplers import SAMPLERS
from pivotal.prompts.chunks import tokenize_prompt

LARGEST = 4096  # px


@dataclass(frozen=True)
class Txt2Img:
    """One press of Generate."""

    prompt: str
    negative: str
    settings: GenerateSettings  # seed -1: another one each time


@dataclass(frozen=True)
class Drawn:
    """What came of it; no images when it was interrupted."""

    images: tuple[Image.Image, ...]
    infotexts: tuple[str, ...]
    notices: tuple[str, ...]
    seed: int


def checked(request: Txt2Img) -> Txt2Img:
    """`request` with a seed drawn where it had none.

    Raises:
        HostError: says which setting is out of range.
    """
    settings = request.settings
    for name, side in (("width", settings.width), ("height", settings.height)):
        if side % 8 or not 64 <= side <= LARGEST:
            raise HostError(f"The {name} must be a multiple of 8 from 64 to {LARGEST}, not {side}.")
    if not 1 <= settings.steps <= 150:
        raise HostError(f"The sampling steps must be 1 to 150, not {settings.steps}.")
    if not 1 <= settings.cfg_scale <= 30:
        raise HostError(f"The CFG scale must be 1 to 30, not {settings.cfg_scale:g}.")
    if not 1 <= settings.batch <= 16:
        raise HostError(f"The batch size must be 1 to 16, not {settings.batch}.")
    if settings.sampler not in SAMPLERS:
        raise HostError(f"There is no sampler {settings.sampler!r}; choose {', '.join(SAMPLERS)}.")
    if not -1 <= settings.seed < 2**32:
        raise HostError(f"The seed must be 0 to {2**32 - 1}, or -1 for a random one; not {settings.seed}.")
    seed = secrets.randbelow(2**32) if settings.seed == -1 else settings.seed
    return replace(request, settings=replace(settings, seed=seed))


def draw(model: DiffusionModel, checkpoint: str, request: Txt2Img, embeddings: Embeddings, loras: LoraFolder,
         on_step: Callable[[int, int], None] | None = None,
         should_stop: Callable[[], bool] | None = None) -> Drawn:
    """Draws a checked request; afterwards the model is as before."""
    prompt, tags, notices = take_tags(request.prompt)
    negative, _, negative_notices = take_tags(request.negative)
    files, missing = _lora_files(loras, tags, model.widths)
    vectors: dict[str, Sequence[Tensor]] = {}
    for file, _, _ in files:
        vectors |= file.embeddings
    vectors |= embeddings.vectors  # an embedding of the folder outranks a bundled one of its name
    with ExitStack() as hooks:
        made = loras.made(model, files)  # also without files, which gives the memory of the last ones back
        misfits = hooks.enter_context(applied(model, files, made)) if files else []
        told = conditioning_for(model, prompt, vectors), negative_for(model, negative, vectors)
        images = generate(model, *told, request.settings, on_step, should_stop)
    used = used_names(f"{prompt}\n{negative}", model, vectors)
    texts = [infotext(replace(request, settings=replace(request.settings, seed=request.settings.seed + index)),
                      checkpoint, {name: embeddings.paths[name] for name in used if name in embeddings.paths})
             for index in range(len(images))]
    told_of = [text for name, text in embeddings.problems.items()
               if Path(name).stem.lower() in f"{prompt} {negative}".lower()]
    all_notices = (*notices, *negative_notices, *missing, *misfits, *told_of)
    return Drawn(tuple(images), tuple(texts), all_notices, request.settings.seed)


def _lora_files(folder: LoraFolder, tags: Sequence[LoraTag], widths: tuple[int, ...]) -> tuple[list[Wish], list[str]]:
    """The files that were asked for; what is missing or broken is told and left out, as in other WebUIs."""
    files, notices = [], []
    for tag in tags:
        path = folder.find(tag.name)
        if path is None:
            notices.append(f"There is no LoRA {tag.name!r} in {folder.folder}.")
            continue
        try:
            file = read_lora(path, widths)
        except FormatError as error:
            notices.append(str(error))
            continue
        files.append((file, tag.te, tag.unet))
        notices.extend(file.notices)
    return files, notices


def used_names(text: str, model: DiffusionModel, vectors: Mapping[str, Sequence[Tensor]]) -> list[str]:
    """The embeddings that a prompt names, in the order of their first use."""
    counts = {name: len(tensors[0]) for name, tensors in vectors.items()}
    chunks = tokenize_prompt(text, model.tokenizer, counts).chunks
    return list(dict.fromkeys(slot.name for chunk in chunks for slot in chunk.slots))


def infotext(request: Txt2Img, checkpoint: str, embeddings: Mapping[str, Path]) -> str:
    """How the image was made, as AUTOMATIC1111 writes and reads it in a PNG's "parameters"."""
    settings = request.settings
    values = {"Steps": settings.steps, "Sampler": settings.sampler}
    if SAMPLERS[settings.sampler].options.get("use_karras_sigmas"):
        values["Schedule type"] = "Karras"
    values |= {"CFG scale": f"{settings.cfg_scale:g}", "Seed": settings.seed,
               "Size": f"{settings.width}x{settings.height}", "Model": _quoted(checkpoint)}
    if embeddings:
        hashes = ", ".join(f"{name.translate({ord(sign): None for sign in ',:'})}: {_short_hash(path)}"
                           for name, path in embeddings.items())
        values["TI hashes"] = f'"{hashes}"'
    lines = [request.prompt, f"Negative prompt: {request.negative}" if request.negative else "",
             ", ".join(f"{name}: {value}" for name, value in values.items())]
    return "\n".join(line for line in lines if line)


def _quoted(text: str) -> str:
    return f'"{text}"' if any(sign in text for sign in ',:"\n') else text


def _short_hash(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()[:12]
    except OSError:
        return "unknown"
