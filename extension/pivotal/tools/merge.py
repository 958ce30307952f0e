"""One network that does what several do together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from pivotal.errors import FormatError, OptionError
from pivotal.formats.network_delta import rank_of
from pivotal.formats.network_file import NetworkFile, family_of_network, network_bytes, read_network
from pivotal.tools.checkpoint import weights_by_key
from pivotal.tools.keys import looks_like_xl, names_of
from pivotal.tools.low_rank import Difference, difference_of, lora_parts, spectrum_of
from pivotal.tools.made_networks import SUFFIX, device_of, left_out, metadata_of, optional_path, rank_for, span
from pivotal.tools.results import Report, path_of, refuse_existing, write
from pivotal.tools.settings import Merge


def merge(settings: Merge) -> Report:
    """The weighted sum of several networks; the embeddings of all.

    Raises:
        OptionError: fewer than two files, or a weight that is no number.
        FormatError: two embeddings have one word; families differ; a layer cannot be added up.
    """
    sources = [_weighted(text) for text in settings.sources]
    if len(sources) < 2:
        raise OptionError({"sources": f"expected two networks or more, got {len(sources)}"})
    target = path_of("target", settings.target, SUFFIX)
    refuse_existing(target, settings.replace)
    files = [(path, read_network(path), weight) for path, weight in sources]
    _refuse_mixed([(path, file) for path, file, _ in files])
    device = device_of(settings.device)
    layers: dict[str, dict[str, Tensor]] = {}
    with weights_by_key(optional_path(settings.checkpoint)) as weights:
        for layer, addends in _by_layer(files).items():
            total = _sum([(difference_of(layer, parts, weights.get(layer)), weight) for parts, weight in addends], layer)
            layers[layer] = _merged(total, settings, device, layer)
    ranks = [rank_of(parts) or 0 for parts in layers.values()]
    names = " + ".join(f"{weight:g} x {path.stem}" for path, _, weight in files)
    first = files[0][1]
    metadata = metadata_of(first.metadata, family_of_network(first), target, layers, f"merged from {names}")
    data = network_bytes(layers, _all_embeddings([(path, file) for path, file, _ in files]), metadata, settings.precision)
    written = write({target: data}, settings.replace)
    return Report(written, f"{len(layers)} layers, {span(ranks)}: {names}. "
                           f"{' '.join(filter(None, (left_out(file) for _, file, _ in files)))}".strip())


def _merged(total: Difference, settings: Merge, device: torch.device, layer: str) -> dict[str, Tensor]:
    if settings.how == "svd":
        rank = rank_for(total.shape, settings.rank, settings.conv_rank)
        spectrum = spectrum_of(total, rank, device)
        return lora_parts(spectrum, len(spectrum.values))
    if total.down is None:
        raise FormatError(f"{layer} is no plain LoRA in every file, so the merge has no exact form; set how to svd.")
    outputs, *inputs = total.shape
    rank = total.down.shape[0]
    return {"lora_up.weight": total.up.reshape(outputs, rank, *[1] * (len(inputs) - 1)).contiguous(),
            "lora_down.weight": total.down.reshape(rank, *inputs).contiguous(), "alpha": torch.tensor(float(rank))}


def _sum(addends: Sequence[tuple[Difference, float]], layer: str) -> Difference:
    sides = [(difference.up.shape[0], (difference.up if difference.down is None else difference.down).shape[1])
             for difference, _ in addends]
    if len(set(sides)) > 1:
        raise FormatError(f"{layer} is {' and '.join(map(str, sides))} in these files; they are not of one model.")
    shape = max((difference.shape for difference, _ in addends), key=len)
    if all(difference.down is not None for difference, _ in addends):
        up = torch.cat([difference.up * weight for difference, weight in addends], 1)
        return Difference(up, torch.cat([difference.down for difference, _ in addends if difference.down is not None]), shape)
    return Difference(torch.stack([difference.dense() * weight for difference, weight in addends]).sum(0), None, shape)


def _by_layer(files: Sequence[tuple[Path, NetworkFile, float]]) -> dict[str, list[tuple[Mapping[str, Tensor], float]]]:
    """Layers under one name each, whichever names the files have."""
    found: dict[str, list[tuple[Mapping[str, Tensor], float]]] = {}
    names = names_of(any(looks_like_xl(file) for _, file, _ in files))
    for _, file, weight in files:
        for key, parts in file.layers.items():
            layer = names[key].kohya if key in names else key
            found.setdefault(layer, []).append((parts, weight))
    return found


def _refuse_mixed(files: Iterable[tuple[Path, NetworkFile]]) -> None:
    families = {family: path.name for path, file in files if (family := family_of_network(file))}
    if len(families) > 1:
        raise FormatError(f"{' and '.join(f'{name} is for {family}' for family, name in families.items())}; "
                          "networks of different families cannot be merged.")


def _all_embeddings(files: Iterable[tuple[Path, NetworkFile]]) -> dict[str, tuple[Tensor, ...]]:
    found: dict[str, tuple[Tensor, ...]] = {}
    for path, file in files:
        for word, vectors in file.embeddings.items():
            known = found.get(word)
            if known and not (len(known) == len(vectors) and all(torch.equal(a, b) for a, b in zip(known, vectors, strict=True))):
                raise FormatError(f"{path.name} and a file before it both bundle an embedding {word}, and they differ. "
                                  "Rename one of them first.")
            found[word] = vectors
    return found


def _weighted(text: str) -> tuple[Path, float]:
    """``name.safetensors=0.7``; a path without a weight has 1."""
    path, equals, number = text.rpartition("=")
    if not equals or Path(text).exists():
        return path_of("sources", text), 1.0
    try:
        return path_of("sources", path), float(number)
    except ValueError:
        raise OptionError({"sources": f"{text!r}: expected a number after =, got {number!r}"}) from None
