"""Network files (LoRA and its relatives) of every trainer, read; and the one form that AUTOMATIC1111 reads, written."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from pivotal.errors import FormatError
from pivotal.formats.adapter_config import Alphas, read_alphas
from pivotal.formats.atomic import tensors_to_bytes
from pivotal.formats.bundle import PREFIX, bundle_keys, bundled_vectors, split_bundle_key
from pivotal.formats.network_delta import kind_of, rank_of
from pivotal.formats.network_family import FamilyName, family_by_layers, family_by_words, family_in_metadata
from pivotal.formats.network_names import Place, kohya_key, place_of
from pivotal.formats.reading import checked_size, read_pickled, read_safetensors
from pivotal.formats.tensor_bytes import header_bytes

LARGEST = 16 * 2**30  # bytes; a whole difference of SDXL in fp32 has 14 GB
SHOWN = 3  # names in an error
Precision = Literal["fp32", "fp16", "bf16"]
DTYPES: Mapping[str, torch.dtype] = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
# Never rounded: an alpha of 0.3 or 8 sqrt(2) is one number a layer, and these scale a whole weight and not a difference.
_EXACT = ("alpha", "scale", "dora_scale", "rescale")

_OTHER_FAMILIES = ("lora_unet_double_blocks", "lora_unet_single_blocks", "lora_unet_joint_blocks", "lora_transformer_",
                   "transformer.", "double_blocks.", "joint_blocks.")
_INSTEAD = (  # how names begin, and what a file with them is
    (("model.diffusion_model.", "first_stage_model.", "cond_stage_model."), "a checkpoint; it belongs among the checkpoints"),
    (("emb_params", "emp_params", "string_to_param", "clip_l", "clip_g"), "an embedding; it belongs among the embeddings"),
    (("control_model.", "lora_controlnet", "controlnet_", "input_hint_block."), "a ControlNet"),
    (("encoder.", "decoder."), "a VAE"),
    (("conv_in.", "down_blocks.", "text_model."), "a part of a model"),
)


@dataclass(frozen=True)
class NetworkFile:
    """A network's file, under kohya's keys and AUTOMATIC1111's names of the parts, whoever wrote it."""

    layers: Mapping[str, Mapping[str, Tensor]]  # "lora_unet_mid_block_attentions_0_proj_in" -> "lora_up.weight" -> tensor
    embeddings: Mapping[str, tuple[Tensor, ...]] = field(default_factory=dict)  # word -> (count, width) per text encoder
    metadata: Mapping[str, str] = field(default_factory=dict)
    others: tuple[str, ...] = ()  # keys that are neither


def read_network(path: Path) -> NetworkFile:
    """A network file and the embeddings bundled with it, without running anything in it.

    Blocks of the UNet keep their names: diffusers' or the original code's. Where the file has no alpha it is the
    rank, unless an ``adapter_config.json`` beside the file or its metadata (diffusers) tells another.

    Raises:
        FormatError: it is missing, damaged, or something else than a network.
    """
    checked_size(path, LARGEST, "a network")
    if path.suffix.lower() == ".safetensors":
        tensors, metadata = read_safetensors(path)
    else:
        tensors = {str(key): tensor for key, tensor in read_pickled(path).items() if isinstance(tensor, Tensor)}
        metadata = {}
    if any(key.startswith(_OTHER_FAMILIES) for key in tensors):
        raise FormatError(f"{path.name} is a network for Flux, Stable Diffusion 3 or another family that is not supported.")
    bundled: dict[str, dict[str, Tensor]] = {}
    places: dict[str, Place] = {}
    others = []
    for key, tensor in tensors.items():
        word = split_bundle_key(key)
        place = None if word else place_of(key)
        if word:
            bundled.setdefault(word[0], {})[word[1]] = tensor
        elif place:
            places[key] = place
        else:
            others.append(key)
    if not places and not bundled:
        raise _another_kind(path.name, tensors)
    embeddings = {word: vectors for word, parts in bundled.items() if (vectors := bundled_vectors(parts))}
    others += [f"{PREFIX}{word}.{what}" for word in bundled if word not in embeddings for what in bundled[word]]
    layers = _layers(path.name, {key: tensors[key] for key in places}, places, read_alphas(path, metadata))
    return NetworkFile(layers, embeddings, metadata, tuple(others))


def _another_kind(name: str, keys: Iterable[str]) -> FormatError:
    keys = list(keys)
    for beginnings, what in _INSTEAD:
        if any(key.startswith(beginnings) for key in keys):
            return FormatError(f"{name} is {what}. Expected a LoRA or a relative of it for SD 1.x, 2.x or XL.")
    return FormatError(f"{name} is no network: it holds {_shown(keys) or 'nothing'}.")


def _layers(name: str, tensors: Mapping[str, Tensor], places: Mapping[str, Place],
            alphas: Alphas) -> dict[str, dict[str, Tensor]]:
    grouped: dict[tuple[str, str, bool], dict[str, Tensor]] = {}
    for key, place in places.items():
        parts = grouped.setdefault((place.part, place.path, place.is_kohya), {})
        parts[place.piece] = _per_output(tensors[key]) if _is_peft_magnitude(key) else tensors[key]
    named = ((f"lora_{part}_{path.replace('.', '_')}", parts) for (part, path, _), parts in grouped.items())
    two = family_by_layers(named) == "sdxl"
    layers: dict[str, dict[str, Tensor]] = {}
    for (part, path, is_kohya), parts in grouped.items():
        layer = kohya_key(Place(part, path, "", is_kohya), two)
        if kind_of(parts) is None:
            raise FormatError(f"{name}: the layer {layer} has {', '.join(sorted(parts))}, which is not what any known method "
                              "trains; the file is incomplete or of an unknown kind.")
        rank = rank_of(parts)
        if rank and "alpha" not in parts and kind_of(parts) in ("lora", "loha"):
            parts["alpha"] = torch.tensor(alphas.of(part, path, rank))
        layers[layer] = parts
    return layers


def family_of_network(file: NetworkFile) -> FamilyName | None:
    """The family that a network was trained for; None when neither its layers nor its metadata tell.

    The widths of the layers outrank their names, these the bundled words, and these the metadata.
    """
    return (family_by_layers(file.layers.items()) or family_by_words(file.embeddings) or family_in_metadata(file.metadata))


def _is_peft_magnitude(key: str) -> bool:
    return ".lora_magnitude_vector" in key


def _per_output(magnitude: Tensor) -> Tensor:
    """PEFT's (out,) or (1, out, 1, 1) as (out, 1) or (out, 1, 1, 1), which is LyCORIS's layout for a norm per output."""
    return magnitude.reshape(-1, *[1] * max(1, magnitude.dim() - 1))


def network_bytes(layers: Mapping[str, Mapping[str, Tensor]], embeddings: Mapping[str, Sequence[Tensor]],
                  metadata: Mapping[str, str], precision: Precision = "fp32") -> bytes:
    """A network's file; the same input gives the same bytes.

    Args:
        layers: kohya's key -> part -> tensor.
        embeddings: word -> one (count, width) tensor per text encoder; always stored in fp32.
        metadata: `sshs_model_hash` and `sshs_legacy_hash` are added.
        precision: of the layers; numbers that scale a whole layer stay in fp32.

    Raises:
        FormatError: names the layer with values that are not finite, or overflow fp16; or the word that breaks the file.
    """
    tensors = {f"{layer}.{part}": _stored(layer, part, tensor, DTYPES[precision])
               for layer, parts in layers.items() for part, tensor in parts.items()}
    for word, vectors in embeddings.items():
        tensors |= bundle_keys(word, vectors)
    if not tensors:
        raise FormatError("There is nothing to write: no layer and no embedding.")
    return hashed_bytes(tensors, metadata)


def hashed_bytes(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> bytes:
    """A safetensors file that carries kohya's hashes of itself, by which hosts know it without reading it whole.

    They are taken over the tensors and the ss_ metadata alone, so that a title edited later changes none of them
    (sd-scripts, library/train_util.py, precalculate_safetensors_hashes).
    """
    lasting = {key: text for key, text in metadata.items() if key.startswith("ss_")}
    plain = tensors_to_bytes(tensors, lasting)
    legacy = hashlib.sha256(memoryview(plain)[2**20:2**20 + 2**16]).hexdigest()[:8]
    return with_metadata(plain, {**metadata, "sshs_model_hash": model_hash(plain), "sshs_legacy_hash": legacy})


def model_hash(data: bytes) -> str:
    """SHA-256 of a safetensors file's tensors without its header: AUTOMATIC1111's and kohya's name for a LoRA."""
    (length,) = struct.unpack("<Q", data[:8])
    return hashlib.sha256(memoryview(data)[8 + length:]).hexdigest()


def with_metadata(data: bytes, metadata: Mapping[str, str]) -> bytes:
    """A safetensors file with other metadata and the same tensors."""
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8:8 + length]) | {"__metadata__": dict(metadata)}
    return header_bytes(header) + memoryview(data)[8 + length:]


def _stored(layer: str, part: str, tensor: Tensor, dtype: torch.dtype) -> Tensor:
    if not tensor.is_floating_point():
        return tensor
    if not torch.isfinite(tensor).all():
        raise FormatError(f"{layer}: its {part} holds values that are not finite numbers; the training diverged. "
                          "Nothing was written.")
    stored = tensor.detach().to(torch.float32 if part in _EXACT else dtype, copy=True)  # a file may not name one memory twice
    if not torch.isfinite(stored).all():
        raise FormatError(f"{layer}: its {part} holds {float(tensor.abs().max()):.3g}, and fp16 ends at 65504. "
                          "Save in bf16 or fp32.")
    return stored


def _shown(keys: Iterable[str]) -> str:
    keys = list(keys)
    return ", ".join(keys[:SHOWN]) + (f" and {len(keys) - SHOWN} more" if len(keys) > SHOWN else "")
