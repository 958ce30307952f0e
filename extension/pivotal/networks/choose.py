"""Which layers get a network, and with what settings."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

from torch import nn

from pivotal.config.sections.network import Blocks, Network, Targets
from pivotal.errors import OptionError
from pivotal.models.diffusion import DiffusionModel
from pivotal.models.layers import TEXT, UNET, Layer, input_blocks, layers_of
from pivotal.networks.blocks import block_values, place_of
from pivotal.networks.methods import fits
from pivotal.networks.settings import LayerSettings

Chosen = Mapping[str, Sequence[tuple[Layer, LayerSettings]]]
"""Part of the model -> its layers with their settings."""

_ATTENTION = r"\.attn[12]\.to_(q|k|v|out\.0)$"
_KINDS = {
    "attention and feed-forward": r"\.attentions\.",
    "attention": _ATTENTION,
    "cross-attention": _ATTENTION.replace("[12]", "2"),
    "self-attention": _ATTENTION.replace("[12]", "1"),
}
_RESIDUAL = r"\.(resnets|downsamplers|upsamplers)\."
_TEXT = r"\.(self_attn\.(q|k|v|out)_proj|mlp\.fc[12])$"
# Where IA3 acts (arXiv:2205.05638, 3.3): keys, values and the inner activations of the feed-forward.
_IA3 = r"(\.to_[kv]|\.k_proj|\.v_proj|\.ff\.net\.2|\.mlp\.fc2)$"
# OpenCLIP's attention is one module in A1111 1.10.1, which applies changes of it only where all four are changed.
_IA3_OPEN_CLIP = r"(\.self_attn\.(q|k|v|out)_proj|\.mlp\.fc2)$"
# Norm layers that A1111 1.10.1 finds by their keys: OpenCLIP's have other names there, and so has the last one.
_TEXT_NORM = r"\.layer_norm[12]$"


def choose_layers(model: DiffusionModel, network: Network, targets: Targets, blocks: Blocks) -> Chosen:
    """The layers of each part that is trained.

    Raises:
        OptionError: a list of blocks has the wrong length, or nothing is left to train.
    """
    switches = {UNET: targets.unet, TEXT[0]: targets.text_encoder_1,
                TEXT[1]: targets.text_encoder_2 and len(model.text_encoders) > 1}
    values = _values(blocks, input_blocks(model))
    chosen: dict[str, list[tuple[Layer, LayerSettings]]] = {part: [] for part, on in switches.items() if on}
    open_clip = {part for part, encoder in zip(TEXT, model.text_encoders, strict=False) if encoder.rules.name != "clip_l"}
    for layer in layers_of(model):
        if layer.part not in chosen:
            continue
        wanted = (_is_wanted_in_unet(layer, network, targets) if layer.part == UNET
                  else _is_wanted_in_text(layer, network, layer.part in open_clip))
        if wanted:
            settings = _settings(layer, network, blocks, values, input_blocks(model))
            if settings is not None:
                chosen[layer.part].append((layer, settings))
    if UNET in chosen and not chosen[UNET]:
        key = "targets.filter" if targets.filter else "blocks.weights"
        raise OptionError({key: "leaves no layer of the UNet to train"})
    return {part: layers for part, layers in chosen.items() if layers}


def _values(blocks: Blocks, inputs: int) -> dict[str, list[float]]:
    problems, values = {}, {}
    texts = {"weights": blocks.weights, "ranks": blocks.ranks, "alphas": blocks.alphas, "conv_ranks": blocks.conv_ranks,
             "conv_alphas": blocks.conv_alphas}
    for name, text in texts.items():
        if not text.strip():
            continue
        try:
            values[name] = block_values(text, inputs)
        except ValueError as error:
            problems[f"blocks.{name}"] = str(error)
            continue
        if name.endswith("ranks") and any(value != int(value) for value in values[name]):
            problems[f"blocks.{name}"] = "expected whole numbers"
    if problems:
        raise OptionError(problems)
    return values


def block_problems(blocks: Blocks, inputs: int) -> dict[str, str]:
    """What is wrong with the lists of blocks for a UNet with so many input blocks, by key."""
    try:
        _values(blocks, inputs)
    except OptionError as error:
        return error.problems
    return {}


def is_wide(module: nn.Module) -> bool:
    """Whether it is a convolution over more than one pixel, which has a rank of its own (LoCon)."""
    return isinstance(module, nn.Conv2d) and module.kernel_size != (1, 1)


def _is_wanted_in_unet(layer: Layer, network: Network, targets: Targets) -> bool:
    is_norm = isinstance(layer.module, (nn.GroupNorm, nn.LayerNorm))
    if is_norm and not network.train_norms:
        return False
    if not is_norm and not fits(network.method, layer.module):
        return False
    if targets.filter and not re.search(targets.filter, layer.path) and not re.search(targets.filter, layer.key):
        return False
    within = re.search(_RESIDUAL, f".{layer.path}") is not None
    if is_norm:
        return within or ".attentions." in layer.path
    if network.method == "ia3":
        return bool(re.search(_IA3, layer.path))
    return bool(re.search(_KINDS[targets.layers], layer.path)) or (within and network.conv_rank is not None)


def _is_wanted_in_text(layer: Layer, network: Network, is_open_clip: bool) -> bool:
    if isinstance(layer.module, nn.LayerNorm):
        return network.train_norms and not is_open_clip and bool(re.search(_TEXT_NORM, layer.path))
    if not fits(network.method, layer.module):
        return False
    if network.method == "ia3":
        return bool(re.search(_IA3_OPEN_CLIP if is_open_clip else _IA3, layer.path))
    return bool(re.search(_TEXT, layer.path))


def _settings(layer: Layer, network: Network, blocks: Blocks, values: Mapping[str, Sequence[float]],
              inputs: int) -> LayerSettings | None:
    """The settings of a layer; None when its block's weight or rank leaves it out."""
    wide, place = is_wide(layer.module), place_of(layer, inputs)

    def own(name: str, usual: float) -> float:
        return values[name][place] if name in values and place is not None else usual

    weight = own("weights", 1.0)
    if place is not None and "weights" in values and weight <= blocks.zero_threshold:
        return None
    conv_alpha = network.alpha if network.conv_alpha is None else network.conv_alpha
    rank = own("conv_ranks", network.conv_rank or 0) if wide else own("ranks", network.rank)
    alpha = own("conv_alphas", conv_alpha) if wide else own("alphas", network.alpha)
    if not rank:
        return None
    return LayerSettings(
        rank=int(rank), alpha=alpha, rank_stabilized=network.rank_stabilized, dropout=network.dropout,
        rank_dropout=network.rank_dropout, module_dropout=network.module_dropout, dora=network.dora,
        factor=network.factor, unit=network.unit, constraint=network.constraint, rate=weight)


def after_file(chosen: Chosen, found: Mapping[str, LayerSettings]) -> Chosen:
    """`chosen` in the sizes of a file's layers (by key); layers that are not in the file are left out."""
    return {part: kept for part, layers in chosen.items()
            if (kept := [(layer, _sized_as(settings, found[layer.key])) for layer, settings in layers if layer.key in found])}


def _sized_as(settings: LayerSettings, found: LayerSettings) -> LayerSettings:
    return replace(settings, rank=found.rank, alpha=found.alpha, rank_stabilized=False, factor=found.factor,
                   constraint=found.constraint)
