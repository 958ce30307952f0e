"""A network of another rank that does nearly the same."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from pivotal.errors import FormatError
from pivotal.formats.network_delta import kind_of, rank_of
from pivotal.formats.network_file import family_of_network, network_bytes, read_network
from pivotal.tools.checkpoint import weights_by_key
from pivotal.tools.low_rank import ALL, Difference, Spectrum, chosen_rank, difference_of, kept_part, lora_parts, spectrum_of
from pivotal.tools.made_networks import SUFFIX, device_of, left_out, metadata_of, optional_path, rank_for, span
from pivotal.tools.results import Report, path_of, refuse_existing, write
from pivotal.tools.settings import Resize


def resize(settings: Resize) -> Report:
    """Every layer as a LoRA of another rank; the embeddings stay.

    Raises:
        FormatError: the network cannot be read or has no rank; the result exists.
    """
    source, target = path_of("source", settings.source), path_of("target", settings.target, SUFFIX)
    refuse_existing(target, settings.replace)
    file, device = read_network(source), device_of(settings.device)
    layers, ranks, kept = {}, [], []
    with weights_by_key(optional_path(settings.checkpoint)) as weights:
        for layer, parts in file.layers.items():
            if kind_of(parts) == "norm":
                layers[layer] = dict(parts)  # has no rank, and is small
                continue
            difference = difference_of(layer, parts, weights.get(layer))
            most = rank_for(difference.shape, settings.rank, settings.conv_rank)
            spectrum, rank = _reduced(difference, most, settings, device)
            layers[layer] = lora_parts(spectrum, rank, _scale_of(parts))
            ranks.append(rank)
            kept.append(kept_part(spectrum, rank))
    if not layers:
        raise FormatError(f"{source.name} has embeddings but no layers; there is nothing to resize.")
    what = f"{settings.method} resize of {source.stem}"
    metadata = metadata_of(file.metadata, family_of_network(file), target, layers, what)
    files = write({target: network_bytes(layers, file.embeddings, metadata, settings.precision)}, settings.replace)
    return Report(files, f"{len(ranks)} layers now have {span(ranks)}, and keep {min(kept, default=1):.1%} to "
                         f"{max(kept, default=1):.1%} of what they did. {left_out(file)}".strip())


def _reduced(difference: Difference, most: int, settings: Resize, device: torch.device) -> tuple[Spectrum, int]:
    """The spectrum, and how much of it is kept; a rule over all singular values needs all of them."""
    spectrum = spectrum_of(difference, most if settings.method == "fixed" else ALL, device)
    return spectrum, chosen_rank(spectrum.values, settings.method, settings.amount or 0.0, most)


def _scale_of(parts: Mapping[str, Tensor]) -> float:
    """alpha / rank of a plain LoRA, which whoever trains on expects to find again; else 1."""
    if kind_of(parts) != "lora" or "alpha" not in parts or not float(parts["alpha"]) or "dora_scale" in parts:
        return 1.0
    return abs(float(parts["alpha"])) / (rank_of(parts) or 1)
