"""LoRA files in a prompt: their low-rank path is added to the layers' outputs, and no weight is touched."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.nn import functional

from pivotal.errors import FormatError
from pivotal.hosts.embedded.library import files_under
from pivotal.hosts.embedded.lora_names import lora_targets
from pivotal.models.diffusion import DiffusionModel

BUNDLE = "bundle_emb."
PARTS = ("lora_down.weight", "lora_up.weight", "alpha")
SHOWN = 3


@dataclass(frozen=True)
class LoraFile:
    """A LoRA as it lies in a file, and the embeddings bundled with it."""

    name: str
    layers: Mapping[str, Mapping[str, Tensor]]  # kohya's name of a layer -> its parts
    embeddings: Mapping[str, tuple[Tensor, ...]]
    notices: tuple[str, ...]


def find_lora(folder: Path, name: str) -> Path | None:
    """The file with that name, else the one that calls itself so (`ss_output_name`)."""
    files = files_under(folder, (".safetensors",))
    for path in files:
        if path.stem == name:
            return path
    return next((path for path in files if _alias(path) == name), None)


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
        FormatError: it is damaged, or not of a kind that can be applied.
    """
    try:
        with safe_open(str(path), framework="pt") as opened:
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}
    except (SafetensorError, OSError) as error:
        raise FormatError(f"{path.name} is not a whole safetensors file: {error}") from error
    layers: dict[str, dict[str, Tensor]] = {}
    bundled: dict[str, dict[str, Tensor]] = {}
    others = []
    for key, tensor in tensors.items():
        if key.startswith(BUNDLE):
            name, _, part = key.removeprefix(BUNDLE).partition(".")
            bundled.setdefault(name, {})[part] = tensor
            continue
        layer, _, part = key.partition(".")
        if part in PARTS and layer.startswith("lora_"):
            layers.setdefault(layer, {})[part] = tensor
        else:
            others.append(key)
    if others:
        raise FormatError(f"{path.name} is no plain LoRA (it has {', '.join(others[:SHOWN])}); this page applies those of "
                          "kohya's form with lora_down and lora_up only.")
    embeddings, notices = _bundled(path, bundled, widths)
    return LoraFile(path.stem, layers, embeddings, notices)


def _bundled(path: Path, bundled: Mapping[str, Mapping[str, Tensor]],
             widths: tuple[int, ...]) -> tuple[dict[str, tuple[Tensor, ...]], tuple[str, ...]]:
    """`bundle_emb.NAME.emb_params`, `.string_to_param.*`, or `.clip_l` with `.clip_g`."""
    found, notices = {}, []
    for name, parts in bundled.items():
        if len(widths) == 2:
            tensors = tuple(parts[part] for part in ("clip_l", "clip_g") if part in parts)
        else:
            tensors = tuple(tensor for part, tensor in parts.items() if not part.startswith("string_to_token"))
        vectors = tuple(tensor.float().reshape(-1, tensor.shape[-1]) for tensor in tensors if tensor.dim() in (1, 2))
        if tuple(tensor.shape[1] for tensor in vectors) == widths and len({len(tensor) for tensor in vectors}) == 1:
            found[name] = vectors
        else:
            notices.append(f"{path.name}: its embedding {name} does not fit this checkpoint.")
    return found, tuple(notices)


@contextmanager
def applied(model: DiffusionModel, loras: Sequence[tuple[LoraFile, float, float]]) -> Iterator[list[str]]:
    """While it lasts, `model` answers as with the LoRAs merged; yields what could not be applied, in words.

    Args:
        loras: each with its weight in the text encoders and in the UNet.
    """
    targets = lora_targets(model)
    notices: list[str] = []
    with ExitStack() as hooks:
        for lora, te, unet in loras:
            unknown = []
            for layer, parts in lora.layers.items():
                weight = te if layer.startswith("lora_te") else unet
                module = targets.get(layer)
                if module is None or not fits(module, parts):
                    unknown.append(layer)
                elif weight:
                    hooks.callback(module.register_forward_hook(_adding(module, parts, weight)).remove)
            if unknown:
                notices.append(f"{lora.name}: {len(unknown)} of {len(lora.layers)} layers do not fit this checkpoint "
                               f"({', '.join(unknown[:SHOWN])}).")
        yield notices


def fits(module: nn.Module, parts: Mapping[str, Tensor]) -> bool:
    """Whether up and down lead from the layer's inputs to its outputs."""
    if PARTS[0] not in parts or PARTS[1] not in parts:
        return False
    down, up, weight = parts[PARTS[0]], parts[PARTS[1]], module.weight
    same_ends = down.shape[1] == weight.shape[1] and up.shape[0] == weight.shape[0] and down.shape[0] == up.shape[1]
    if isinstance(module, nn.Conv2d):
        return same_ends and (down.dim() == 2 and weight.shape[2:] == (1, 1) or down.shape[2:] == weight.shape[2:])
    return same_ends and down[0, 0].numel() == 1


def _adding(module: nn.Module, parts: Mapping[str, Tensor], weight: float) -> Callable[..., Tensor]:
    """A forward hook: output + weight x alpha / rank x up(down(input)) (Hu et al. 2021, arXiv:2106.09685, 4.1)."""
    down, up = parts[PARTS[0]], parts[PARTS[1]]
    rank = down.shape[0]
    scale = weight * (float(parts[PARTS[2]]) / rank if PARTS[2] in parts else 1.0)
    place = {"device": module.weight.device, "dtype": module.weight.dtype}
    if isinstance(module, nn.Conv2d):
        first = down.reshape(rank, down.shape[1], *module.kernel_size).to(**place)
        second = up.reshape(up.shape[0], rank, 1, 1).to(**place)

        def add_convolved(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
            inner = functional.conv2d(inputs[0], first, None, layer.stride, layer.padding, layer.dilation)
            return output + scale * functional.conv2d(inner, second)

        return add_convolved
    first, second = down.reshape(rank, -1).to(**place), up.reshape(-1, rank).to(**place)

    def add(_layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        return output + scale * functional.linear(functional.linear(inputs[0], first), second)

    return add
