"""A LoRA out of what two checkpoints differ in."""

from __future__ import annotations

from pivotal.errors import FormatError
from pivotal.formats.network_delta import rank_of
from pivotal.formats.network_file import network_bytes
from pivotal.models.layers import Layer
from pivotal.tools.checkpoint import two_checkpoints
from pivotal.tools.low_rank import Difference, kept_part, lora_parts, spectrum_of
from pivotal.tools.made_networks import SUFFIX, device_of, metadata_of, rank_for, span
from pivotal.tools.results import Report, path_of, refuse_existing, write
from pivotal.tools.settings import Extract


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
                rank = rank_for(difference.shape, settings.rank, settings.conv_rank)
                spectrum = spectrum_of(difference, rank, device)
                layers[before.key] = lora_parts(spectrum, len(spectrum.values))
                kept.append(kept_part(spectrum, len(spectrum.values)))
    if not layers:
        raise FormatError(f"{tuned.name} differs from {base.name} in no layer by more than {settings.min_difference:g}; "
                          "there is nothing to extract.")
    ranks = [rank_of(parts) or 0 for parts in layers.values()]
    metadata = metadata_of({}, family.name, target, layers, f"difference of {tuned.stem} and {base.stem}")
    files = write({target: network_bytes(layers, {}, metadata, settings.precision)}, settings.replace)
    return Report(files, f"{len(layers)} layers with {span(ranks)}; they keep {min(kept):.1%} to {max(kept):.1%} of the "
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
