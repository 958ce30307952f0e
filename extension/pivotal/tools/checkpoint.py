"""A checkpoint's weights by the keys of networks, read from the disk only as far as they are looked at."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from pivotal.errors import FormatError
from pivotal.models.build import build_model
from pivotal.models.diffusion import DiffusionModel
from pivotal.models.layers import Layer, by_key, layers_of
from pivotal.models.ldm_layout import ENCODERS, UNET, VAE, detect_family, known_facts

_REMARKS = ("v_pred", "global_step")  # tensors that only say something of the others


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
            yield _model_over(opened)
    except SafetensorError as error:
        raise FormatError(f"{path.name} is not a whole safetensors file: {error}") from error
    except OSError as error:
        raise FormatError(f"{path} cannot be read: {error.strerror or error}.") from error
    except _UnnamedError as error:
        raise FormatError(f"{path.name}: {error}") from error


class _UnnamedError(Exception):
    """What is wrong with a checkpoint's tensors, whose readers do not know which file they are of."""


def _model_over(opened: Any) -> DiffusionModel:
    try:
        family = detect_family(opened.keys())
        remarks = {name: opened.get_tensor(name) for name in opened.keys() if name in _REMARKS}
        prefixes = (UNET, VAE, *ENCODERS[family.name])
        tensors = {name: opened.get_tensor(name) for name in opened.keys() if name.startswith(prefixes)}
        return build_model(tensors, tokenizer=None, facts=known_facts(family, remarks, opened.metadata()))
    except FormatError as error:
        raise _UnnamedError(str(error)) from error


@contextmanager
def weights_by_key(path: Path | None) -> Iterator[Mapping[str, Tensor]]:
    """Key or alias of a layer -> its weight; empty without a checkpoint."""
    if path is None:
        yield {}
        return
    with opened_checkpoint(path) as model:
        yield {key: layer.module.weight for key, layer in by_key(model).items()}


@contextmanager
def two_checkpoints(base: Path, tuned: Path) -> Iterator[tuple[DiffusionModel, list[tuple[Layer, Layer]]]]:
    """The base model, and each of its layers with the tuned one's.

    Raises:
        FormatError: they are of different families or shapes.
    """
    with opened_checkpoint(base) as first, opened_checkpoint(tuned) as second:
        if first.family is not second.family:
            raise FormatError(f"{base.name} is {first.family.title}, {tuned.name} is {second.family.title}; "
                              "a difference needs two of one family.")
        one, other = layers_of(first), layers_of(second)
        named = [[(layer.key, layer.module.weight.shape) for layer in layers] for layers in (one, other)]
        if named[0] != named[1]:
            raise FormatError(f"{base.name} and {tuned.name} have layers of different shapes; "
                              "a difference needs two of one architecture.")
        yield first, list(zip(one, other, strict=True))
