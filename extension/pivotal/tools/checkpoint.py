"""A checkpoint's weights by the keys of networks, read from the disk only as far as they are looked at."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor

from pivotal.errors import FormatError
from pivotal.models.build import build_model
from pivotal.models.diffusion import DiffusionModel
from pivotal.models.layers import Layer, by_key, layers_of
from pivotal.models.ldm_layout import ENCODERS, UNET, VAE, detect_family, known_facts


@contextmanager
def opened_checkpoint(path: Path) -> Iterator[DiffusionModel]:
    """A model over the file's own pages: of two checkpoints of 6 GB, memory holds what is being compared.

    Raises:
        FormatError: it is not there, damaged, or no checkpoint of SD 1, SD 2 or SDXL.
    """
    if path.suffix.lower() != ".safetensors" or not path.is_file():
        raise FormatError(f"{path} is no .safetensors file; give a checkpoint in that form.")
    try:
        with safe_open(str(path), framework="pt", device="cpu") as opened:
            family = detect_family(opened.keys())
            prefixes = (UNET, VAE, *ENCODERS[family.name])
            remarks = {name: opened.get_tensor(name) for name in opened.keys() if name in ("v_pred", "global_step")}
            facts = known_facts(family, remarks, opened.metadata())
            tensors = {name: opened.get_tensor(name) for name in opened.keys() if name.startswith(prefixes)}
            yield build_model(tensors, tokenizer=None, facts=facts)
    except SafetensorError as error:
        raise FormatError(f"{path.name} is not a whole safetensors file: {error}") from error
    except OSError as error:
        raise FormatError(f"{path} cannot be read: {error.strerror or error}.") from error


@contextmanager
def weights_by_key(path: Path | None) -> Iterator[Mapping[str, Tensor]]:
    """Key or alias of a layer -> its weight; empty without a checkpoint."""
    if path is None:
        yield {}
        return
    with _named_errors(path), opened_checkpoint(path) as model:
        yield {key: layer.module.weight for key, layer in by_key(model).items()}


@contextmanager
def two_checkpoints(base: Path, tuned: Path) -> Iterator[tuple[DiffusionModel, list[tuple[Layer, Layer]]]]:
    """The base model, and each of its layers with the tuned one's.

    Raises:
        FormatError: they are of different families or shapes.
    """
    with _named_errors(base), opened_checkpoint(base) as first, opened_checkpoint(tuned) as second:
        if first.family is not second.family:
            raise FormatError(f"{base.name} is {first.family.title}, {tuned.name} is {second.family.title}; "
                              "a difference needs two of one family.")
        pairs = list(zip(layers_of(first), layers_of(second), strict=False))
        if any(a.key != b.key or a.module.weight.shape != b.module.weight.shape for a, b in pairs):
            raise FormatError(f"{base.name} and {tuned.name} have layers of different shapes; "
                              "a difference needs two of one architecture.")
        yield first, pairs


@contextmanager
def _named_errors(path: Path) -> Iterator[None]:
    """Says which file it was where the readers of tensors do not know it."""
    try:
        yield
    except FormatError as error:
        raise FormatError(str(error) if path.name in str(error) else f"{path.name}: {error}") from error
