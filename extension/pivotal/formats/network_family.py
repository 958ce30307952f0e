"""Which family of checkpoints a network was trained for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

from torch import Tensor

FamilyName = Literal["sd1", "sd2", "sdxl"]
_CONTEXTS: Mapping[int, FamilyName] = {768: "sd1", 1024: "sd2", 2048: "sdxl"}  # inputs of a cross-attention's keys and values
_ENCODERS: Mapping[int, FamilyName] = {1024: "sd2", 1280: "sdxl"}  # width of the text encoder; 768 is SD 1's and SDXL's
_WORDS: Mapping[tuple[int, ...], FamilyName] = {(768,): "sd1", (1024,): "sd2", (768, 1280): "sdxl"}
_ARCHITECTURES = (("stable-diffusion-xl", "sdxl"), ("stable-diffusion-v2", "sd2"), ("stable-diffusion-v1", "sd1"))


def family_by_layers(layers: Iterable[tuple[str, Mapping[str, Tensor]]]) -> FamilyName | None:
    """The family of layers under kohya's keys, by their widths, else by their names."""
    layers = list(layers)
    return _by_widths(layers) or _by_names(key for key, _ in layers)


def widths_of(parts: Mapping[str, Tensor]) -> tuple[int | None, int | None]:
    """Inputs and outputs of the layer that the parts were trained for, as far as their shapes tell."""
    if "lora_down.weight" in parts and "lora_up.weight" in parts:
        return parts["lora_down.weight"].shape[1], parts["lora_up.weight"].shape[0]
    if "hada_w1_b" in parts and "hada_w1_a" in parts:
        outputs = parts["hada_w1_a"].shape[1 if "hada_t1" in parts else 0]
        return parts["hada_w1_b"].shape[1], outputs  # of a convolution times the kernel, unless there is a core
    if "diff" in parts and parts["diff"].dim() >= 2:
        return parts["diff"].shape[1], parts["diff"].shape[0]
    if "a1.weight" in parts and "b2.weight" in parts:
        return parts["a1.weight"].shape[1], parts["b2.weight"].shape[0]
    if "w_norm" in parts:
        return parts["w_norm"].shape[0], parts["w_norm"].shape[0]
    return _kronecker_widths(parts)


def _kronecker_widths(parts: Mapping[str, Tensor]) -> tuple[int | None, int | None]:
    inputs, outputs = 1, 1
    for side in "12":
        whole, first, second = (parts.get(f"lokr_w{side}{end}") for end in ("", "_a", "_b"))
        if whole is not None:
            inputs, outputs = inputs * whole.shape[1], outputs * whole.shape[0]
        elif first is not None and second is not None:
            has_core = f"lokr_t{side}" in parts
            inputs, outputs = inputs * second.shape[1], outputs * first.shape[1 if has_core else 0]
        else:
            return None, None
    return inputs, outputs


def _by_widths(layers: Iterable[tuple[str, Mapping[str, Tensor]]]) -> FamilyName | None:
    for key, parts in layers:
        inputs, outputs = widths_of(parts)
        if key.endswith(("_attn2_to_k", "_attn2_to_v")) and inputs in _CONTEXTS:
            return _CONTEXTS[inputs]
        if key.startswith("lora_te") and key.endswith("_proj") and outputs in _ENCODERS:
            return _ENCODERS[outputs]
    return None


def _by_names(keys: Iterable[str]) -> FamilyName | None:
    """A second text encoder, or what only SDXL has: ten transformer blocks in a row, an embedding of sizes."""
    marks = ("lora_te2_", "lora_unet_label_emb", "lora_unet_add_embedding")
    for key in keys:
        if key.startswith(marks) or ("_transformer_blocks_" in key and "_transformer_blocks_0_" not in key):
            return "sdxl"
    return None


def family_by_words(embeddings: Mapping[str, tuple[Tensor, ...]]) -> FamilyName | None:
    """The family of embeddings, by their widths."""
    found = {_WORDS.get(tuple(tensor.shape[1] for tensor in vectors)) for vectors in embeddings.values()}
    if len(found) == 1 and found != {None}:
        return found.pop()
    return "sdxl" if any(len(vectors) == 2 for vectors in embeddings.values()) else None


def family_in_metadata(metadata: Mapping[str, str]) -> FamilyName | None:
    """What kohya's and ModelSpec's keys say."""
    architecture = metadata.get("modelspec.architecture", "")
    for name, family in _ARCHITECTURES:
        if name in architecture:
            return family
    version = metadata.get("ss_base_model_version", "")
    if version.startswith("sdxl"):
        return "sdxl"
    if metadata.get("ss_v2") == "True" or version.startswith("sd_v2"):
        return "sd2"
    return "sd1" if version.startswith("sd_v1") or metadata.get("ss_v2") == "False" else None
