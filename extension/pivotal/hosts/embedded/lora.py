"""LoRA files in a prompt: found by their tags, read anew each time, and applied without touching a weight."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor

from pivotal.formats.network_file import read_network
from pivotal.hosts.embedded.library import Stamp, files_under, stamp_of
from pivotal.hosts.embedded.lora_layers import (
    Change,
    Difference,
    Hook,
    difference,
    difference_hook,
    fits,
    is_low_rank,
    low_rank_hook,
)
from pivotal.models.diffusion import DiffusionModel
from pivotal.models.layers import UNET, Layer, by_key

SUFFIXES = (".safetensors", ".pt")
SHOWN = 3


@dataclass(frozen=True)
class LoraFile:
    """A LoRA, or a relative of it, as it lies in a file, and the embeddings bundled with it."""

    name: str
    layers: Mapping[str, Mapping[str, Tensor]]  # kohya's name of a layer -> its parts
    embeddings: Mapping[str, tuple[Tensor, ...]]
    notices: tuple[str, ...]
    stamp: Stamp = (0, 0, 0)  # of the file when it was read


Wish = tuple[LoraFile, float, float]
"""A LoRA with its weight in the text encoders and in the UNet."""


def _alias(path: Path) -> str | None:
    try:
        with safe_open(str(path), framework="pt") as opened:
            return (opened.metadata() or {}).get("ss_output_name")
    except (SafetensorError, OSError):
        return None


def read_lora(path: Path, widths: tuple[int, ...]) -> LoraFile:
    """A LoRA file.

    Args:
        widths: of the model's text encoders; bundled embeddings of another width are left out with a notice.

    Raises:
        FormatError: it is damaged, or no network.
    """
    stamp = stamp_of(path)  # before it is read: what replaces it meanwhile has another
    file = read_network(path)
    notices = []
    if file.others:
        notices.append(f"{path.name} has tensors of no kind that is known here ({', '.join(file.others[:SHOWN])}); they "
                       "are left out.")
    fitting = {word: vectors for word, vectors in file.embeddings.items()
               if tuple(tensor.shape[1] for tensor in vectors) == widths}
    notices += [f"{path.name}: its embedding {word} does not fit this checkpoint."
                for word in file.embeddings if word not in fitting]
    return LoraFile(path.stem, file.layers, fitting, tuple(notices), stamp)


class LoraFolder:
    """A folder of LoRAs, with subfolders, and what the last prompt's LoRAs made of the weights.

    Nothing of a file is remembered but those differences, and they only while the file stays as it is.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.forget()

    def find(self, name: str) -> Path | None:
        """The file with that name, else the one that calls itself so (`ss_output_name`)."""
        files = files_under(self.folder, SUFFIXES)
        for path in files:
            if path.stem == name:
                return path
        return next((path for path in files if _alias(path) == name), None)

    def made(self, model: DiffusionModel, wishes: Sequence[Wish]) -> dict[str, Difference]:
        """For `applied`: by layer's key; empty unless the same unchanged files were asked for last, with these weights."""
        asked = tuple((file.name, file.stamp, te, unet) for file, te, unet in wishes)
        if self._model is not model or self._asked != asked:
            self._model, self._asked, self._made = model, asked, {}
        return self._made

    def forget(self) -> None:
        """Gives the memory of the differences back."""
        self._model: DiffusionModel | None = None
        self._asked: tuple[object, ...] = ()
        self._made: dict[str, Difference] = {}


@contextmanager
def applied(model: DiffusionModel, wishes: Sequence[Wish], made: dict[str, Difference] | None = None) -> Iterator[list[str]]:
    """While it lasts, `model` answers as with the LoRAs merged one after the other; yields what does not fit, in words.

    Args:
        made: differences by layer's key that need not be made again; new ones are added to it.
    """
    made = {} if made is None else made
    misfits: dict[str, list[str]] = {file.name: [] for file, _, _ in wishes}
    with ExitStack() as hooks:
        for layer, changes in _by_layer(model, wishes, misfits):
            for hook in _hooks(layer, changes, made, misfits):
                hooks.callback(layer.module.register_forward_hook(hook).remove)
        yield [f"{file.name}: {len(misfits[file.name])} of {len(file.layers)} layers do not fit this checkpoint "
               f"({', '.join(misfits[file.name][:SHOWN])})." for file, _, _ in wishes if misfits[file.name]]


def _by_layer(model: DiffusionModel, wishes: Sequence[Wish],
              misfits: Mapping[str, list[str]]) -> list[tuple[Layer, list[Change]]]:
    """The layers that are changed, each with its changes in the prompt's order."""
    layers = by_key(model)
    found: dict[str, tuple[Layer, list[Change]]] = {}
    for file, te, unet in wishes:
        for key, parts in file.layers.items():
            layer = layers.get(key)
            if layer is None:
                misfits[file.name].append(key)
                continue
            multiplier = unet if layer.part == UNET else te
            found.setdefault(layer.key, (layer, []))[1].append(Change(file.name, key, parts, multiplier))
    return list(found.values())


def _hooks(layer: Layer, changes: Sequence[Change], made: dict[str, Difference],
           misfits: Mapping[str, list[str]]) -> list[Hook]:
    """What the layer's output is passed through. A plain LoRA never becomes a matrix of the weight's size."""
    if all(is_low_rank(change) for change in changes):
        unfit = [change for change in changes if not fits(layer.module, change)]
        hooks = [low_rank_hook(layer.module, change) for change in changes if change not in unfit and change.multiplier]
    else:
        if layer.key not in made:
            made[layer.key] = difference(layer.module, changes)
        unfit = list(made[layer.key].misfits)
        hooks = [difference_hook(layer.module, made[layer.key])]
    for change in unfit:
        misfits[change.file].append(change.key)
    return hooks
