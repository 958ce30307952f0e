"""Networks resized, merged, and extracted from checkpoints."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from pivotal.errors import FormatError, OptionError
from pivotal.formats.network_delta import alpha_of, kind_of, rank_of
from pivotal.formats.network_file import NetworkFile, family_of_network, network_bytes, read_network
from pivotal.models.layers import Layer
from pivotal.tools.checkpoint import two_checkpoints, weights_by_key
from pivotal.tools.keys import looks_like_xl, names_of
from pivotal.tools.low_rank import Difference, Method, Spectrum, chosen_rank, difference_of, kept_part, lora_parts, spectrum_of
from pivotal.tools.results import Report, path_of, refuse_existing, write
from pivotal.tools.settings import Extract, Merge, Resize

SUFFIX = ".safetensors"
SHOWN = 3
_OF_THE_FILE = ("sshs_", "modelspec.hash", "modelspec.date", "modelspec.thumbnail", "ss_session_id")  # true of the old file only
_BASES: Mapping[str, Mapping[str, str]] = {
    "sd1": {"ss_base_model_version": "sd_v1", "ss_v2": "False"},
    "sd2": {"ss_base_model_version": "sd_v2", "ss_v2": "True"},
    "sdxl": {"ss_base_model_version": "sdxl_base_v1-0", "ss_v2": "False"},
}


def resize(settings: Resize) -> Report:
    """Every layer as a LoRA of another rank; the embeddings stay.

    Raises:
        FormatError: the network cannot be read or has no rank; the result exists.
    """
    source, target = path_of("source", settings.source), path_of("target", settings.target, SUFFIX)
    refuse_existing(target, settings.replace)
    file, device = read_network(source), device_of(settings.device)
    layers, ranks, kept = {}, [], []
    with weights_by_key(_optional(settings.checkpoint)) as weights:
        for layer, parts in file.layers.items():
            if kind_of(parts) == "norm":
                layers[layer] = dict(parts)  # has no rank, and is small
                continue
            difference = difference_of(layer, parts, weights.get(layer))
            most = _rank_for(difference.shape, settings.rank, settings.conv_rank)
            spectrum, rank = _reduced(difference, most, settings.method, settings.amount or 0.0, device)
            layers[layer] = lora_parts(spectrum, rank, _scale_of(parts))
            ranks.append(rank)
            kept.append(kept_part(spectrum, rank))
    if not layers:
        raise FormatError(f"{source.name} has embeddings but no layers; there is nothing to resize.")
    what = f"{settings.method} resize of {source.stem}"
    metadata = _metadata(file.metadata, family_of_network(file), target, layers, what)
    files = write({target: network_bytes(layers, file.embeddings, metadata, settings.precision)}, settings.replace)
    return Report(files, f"{len(ranks)} layers now have {_span(ranks)}, and keep {min(kept, default=1):.1%} to "
                         f"{max(kept, default=1):.1%} of what they did. {_left_out(file)}".strip())


def _reduced(difference: Difference, most: int, method: Method, amount: float, device: torch.device) -> tuple[Spectrum, int]:
    if method == "fixed":
        spectrum = spectrum_of(difference, most, device)
        return spectrum, chosen_rank(spectrum.values, method, amount, most)
    spectrum = spectrum_of(difference, min(difference.dense().shape), device, whole=True)
    return spectrum, chosen_rank(spectrum.values, method, amount, most)


def _scale_of(parts: Mapping[str, Tensor]) -> float:
    """alpha / rank of a plain LoRA, which whoever trains on expects to find again; else 1."""
    if kind_of(parts) != "lora" or "alpha" not in parts or not float(parts["alpha"]) or "dora_scale" in parts:
        return 1.0
    return abs(float(parts["alpha"])) / (rank_of(parts) or 1)


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
    with weights_by_key(_optional(settings.checkpoint)) as weights:
        for layer, addends in _by_layer(files).items():
            total = _sum([(difference_of(layer, parts, weights.get(layer)), weight) for parts, weight in addends], layer)
            layers[layer] = _merged(total, settings, device, layer)
    ranks = [rank_of(parts) or 0 for parts in layers.values()]
    names = " + ".join(f"{weight:g} x {path.stem}" for path, _, weight in files)
    first = files[0][1]
    metadata = _metadata(first.metadata, family_of_network(first), target, layers, f"merged from {names}")
    data = network_bytes(layers, _all_embeddings([(path, file) for path, file, _ in files]), metadata, settings.precision)
    written = write({target: data}, settings.replace)
    return Report(written, f"{len(layers)} layers, {_span(ranks)}: {names}. "
                           f"{' '.join(filter(None, (_left_out(file) for _, file, _ in files)))}".strip())


def _merged(total: Difference, settings: Merge, device: torch.device, layer: str) -> dict[str, Tensor]:
    if settings.how == "svd":
        rank = _rank_for(total.shape, settings.rank, settings.conv_rank)
        spectrum = spectrum_of(total, rank, device)
        return lora_parts(spectrum, len(spectrum.values))
    if total.down is None:
        raise FormatError(f"{layer} is no plain LoRA in every file, so the merge has no exact form; set how to svd.")
    outputs, *inputs = total.shape
    rank = total.down.shape[0]
    return {"lora_up.weight": total.up.reshape(outputs, rank, *[1] * (len(inputs) - 1)).contiguous(),
            "lora_down.weight": total.down.reshape(rank, *inputs).contiguous(), "alpha": torch.tensor(float(rank))}


def _sum(addends: Sequence[tuple[Difference, float]], layer: str) -> Difference:
    shapes = {difference.up.shape[0] for difference, _ in addends} | {difference.dense().shape[1] for difference, _ in addends}
    dense = [difference.dense().shape for difference, _ in addends]
    if len(set(dense)) > 1:
        raise FormatError(f"{layer} is {' and '.join(map(str, map(tuple, dense)))} in these files; they are not of one model.")
    shape = max((difference.shape for difference, _ in addends), key=len)
    if shapes and all(difference.down is not None for difference, _ in addends):
        up = torch.cat([difference.up * weight for difference, weight in addends], 1)
        return Difference(up, torch.cat([difference.down for difference, _ in addends if difference.down is not None]), shape)
    return Difference(torch.stack([difference.dense() * weight for difference, weight in addends]).sum(0), None, shape)


def _by_layer(files: Sequence[tuple[Path, NetworkFile, float]]) -> dict[str, list[tuple[Mapping[str, Tensor], float]]]:
    """Layers under one name each, whichever names the files have."""
    found: dict[str, list[tuple[Mapping[str, Tensor], float]]] = {}
    for _, file, weight in files:
        names = names_of(looks_like_xl(file))
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


def extract(settings: Extract) -> Report:
    """A LoRA of the difference tuned - base.

    Raises:
        FormatError: the checkpoints cannot be read or compared, or do not differ; the result exists.
    """
    base, tuned = path_of("base", settings.base), path_of("tuned", settings.tuned)
    target = path_of("target", settings.target, SUFFIX)
    refuse_existing(target, settings.replace)
    device = device_of(settings.device)
    layers, kept = {}, []
    with two_checkpoints(base, tuned) as (model, pairs):
        family = model.family
        for before, after in pairs:
            difference = _changed(before, after, settings)
            if difference is not None:
                rank = _rank_for(difference.shape, settings.rank, settings.conv_rank)
                spectrum = spectrum_of(difference, rank, device)
                layers[before.key] = lora_parts(spectrum, len(spectrum.values))
                kept.append(kept_part(spectrum, len(spectrum.values)))
    if not layers:
        raise FormatError(f"{tuned.name} differs from {base.name} in no layer by more than {settings.min_difference:g}; "
                          "there is nothing to extract.")
    ranks = [rank_of(parts) or 0 for parts in layers.values()]
    metadata = _metadata({}, family.name, target, layers, f"difference of {tuned.stem} and {base.stem}")
    files = write({target: network_bytes(layers, {}, metadata, settings.precision)}, settings.replace)
    return Report(files, f"{len(layers)} layers with {_span(ranks)}; they keep {min(kept):.1%} to {max(kept):.1%} of the "
                         "difference.")


def _changed(before: Layer, after: Layer, settings: Extract) -> Difference | None:
    weight = before.module.weight
    wide = weight.dim() == 4 and weight.shape[2:].numel() > 1
    if weight.dim() < 2 or (wide and not settings.conv_rank) or (before.part != "unet" and not settings.text_encoders):
        return None
    delta = after.module.weight.detach().float() - weight.detach().float()
    if float(delta.abs().max()) <= settings.min_difference:
        return None
    return Difference(delta.flatten(1), None, tuple(delta.shape))


def device_of(name: str) -> torch.device:
    """Raises OptionError when there is no such device here."""
    if name == "cuda" and not torch.cuda.is_available():
        raise OptionError({"device": "there is no CUDA device that torch can use; take cpu"})
    return torch.device(name)


def _optional(text: str) -> Path | None:
    return path_of("checkpoint", text) if text.strip() else None


def _weighted(text: str) -> tuple[Path, float]:
    """``name.safetensors=0.7``; a path without a weight has 1."""
    path, equals, number = text.rpartition("=")
    if not equals:
        return path_of("sources", text), 1.0
    try:
        return path_of("sources", path), float(number)
    except ValueError:
        raise OptionError({"sources": f"{text!r}: expected a number after =, got {number!r}"}) from None


def _rank_for(shape: tuple[int, ...], rank: int, conv_rank: int | None) -> int:
    """The rank for a weight of that shape, at most what its sides allow."""
    wide = len(shape) == 4 and shape[2] * shape[3] > 1
    rows, columns = shape[0], torch.Size(shape[1:]).numel()
    return min(conv_rank if wide and conv_rank else rank, rows, columns)


def _metadata(old: Mapping[str, str], family: str | None, target: Path, layers: Mapping[str, Mapping[str, Tensor]],
              what: str) -> dict[str, str]:
    """The old file's, without what was true of that file only; with the family, without which WebUIs hide its card."""
    kept = {key: text for key, text in old.items() if not key.startswith(_OF_THE_FILE)}
    if family and "ss_base_model_version" not in kept:
        kept |= _BASES[family]
    comment = kept.get("ss_training_comment", "None")
    return kept | {"ss_output_name": target.stem, "ss_network_module": "networks.lora",
                   "ss_network_dim": _one([str(rank_of(parts)) for parts in layers.values() if rank_of(parts)]),
                   "ss_network_alpha": _one([f"{alpha_of(parts):g}" for parts in layers.values() if rank_of(parts)]),
                   "ss_training_comment": what if comment in ("", "None") else f"{what}; {comment}"}


def _one(texts: Sequence[str]) -> str:
    """kohya's word where the layers do not agree."""
    return texts[0] if len(set(texts)) == 1 else "Dynamic"


def _span(ranks: Sequence[int]) -> str:
    if not ranks:
        return "no rank"
    return f"rank {ranks[0]}" if len(set(ranks)) == 1 else f"ranks from {min(ranks)} to {max(ranks)}"


def _left_out(file: NetworkFile) -> str:
    if not file.others:
        return ""
    more = f" and {len(file.others) - SHOWN} more" if len(file.others) > SHOWN else ""
    return f"Left out, as they belong to no known layer: {', '.join(file.others[:SHOWN])}{more}."
