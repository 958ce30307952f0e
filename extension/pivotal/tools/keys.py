"""The layers of SD 1, SD 2 and SDXL under all their names, for files whose checkpoint is not at hand.

Only the layers that these families have as they were released: two residual blocks per level.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

from torch import Tensor

from pivotal.errors import FormatError
from pivotal.formats.network_delta import kind_of, low_rank
from pivotal.formats.network_file import NetworkFile, family_of_network
from pivotal.models.layers import original_name

STYLES = ("kohya", "kohya-diffusers", "diffusers")
SHOWN = 3
_LAYERS = 2  # residual blocks per level
_DEPTH, _TEXT_LAYERS = 10, 32  # the most there are: SDXL's middle, and its second text encoder
_RESIDUAL = ("norm1", "conv1", "time_emb_proj", "norm2", "conv2", "conv_shortcut")
_BLOCK = (*(f"attn{number}.{name}" for number in (1, 2) for name in ("to_q", "to_k", "to_v", "to_out.0")),
          "ff.net.0.proj", "ff.net.2", "norm1", "norm2", "norm3")
_TOP = ("conv_in", "conv_norm_out", "conv_out", "time_embedding.linear_1", "time_embedding.linear_2",
        "add_embedding.linear_1", "add_embedding.linear_2")
_TEXT = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.out_proj", "mlp.fc1", "mlp.fc2",
         "layer_norm1", "layer_norm2")


@dataclass(frozen=True)
class Name:
    """One layer of a family, in everybody's words."""

    kohya: str  # as AUTOMATIC1111 reads it best: the original code's blocks for SDXL, diffusers' before
    kohya_diffusers: str  # always diffusers' blocks
    diffusers: str  # "unet.mid_block..." or "text_encoder.text_model...", with dots


def names_of(is_xl: bool) -> Mapping[str, Name]:
    """Every key that a file may have -> the layer's names."""
    return _xl_names() if is_xl else _sd_names()


def looks_like_xl(file: NetworkFile) -> bool:
    """Whether a network is SDXL's; one that does not tell is taken for SD 1's or SD 2's, whose names are the same."""
    return family_of_network(file) == "sdxl"


def converted(file: NetworkFile, style: str) -> dict[str, Tensor]:
    """The tensors of a network under the keys of a style of STYLES, without its embeddings.

    ``diffusers`` is what its and PEFT's readers share (lora_A, lora_B), where alpha is folded into lora_B.

    Raises:
        FormatError: a layer is unknown, or of a method that the style has no names for.
    """
    names = names_of(looks_like_xl(file))
    unknown = [key for key in file.layers if key not in names]
    if unknown:
        more = f" and {len(unknown) - SHOWN} more" if len(unknown) > SHOWN else ""
        raise FormatError(f"{', '.join(unknown[:SHOWN])}{more}: no such layer in SD 1, SD 2 or SDXL, so it cannot be renamed.")
    if style == "diffusers":
        return {key: tensor for layer, parts in file.layers.items()
                for key, tensor in _diffusers_parts(layer, names[layer].diffusers, parts).items()}
    return {f"{names[layer].kohya if style == 'kohya' else names[layer].kohya_diffusers}.{part}": tensor
            for layer, parts in file.layers.items() for part, tensor in parts.items()}


def _diffusers_parts(layer: str, path: str, parts: Mapping[str, Tensor]) -> dict[str, Tensor]:
    factors = low_rank(parts)
    if factors is None:
        raise FormatError(f"{layer} is {kind_of(parts)}{' with DoRA' if 'dora_scale' in parts else ''}; diffusers' form "
                          "holds plain LoRAs only. Resize it first, which makes one of it.")
    down, up, scale = factors
    kind = parts["lora_up.weight"].dtype
    return {f"{path}.lora_A.weight": down.to(kind), f"{path}.lora_B.weight": (up * scale).to(kind)}


@lru_cache(maxsize=1)
def _sd_names() -> Mapping[str, Name]:
    unet = _unet_paths(levels=4, down={0, 1, 2}, up={1, 2, 3})
    found = _unet_names(unet, {"up_blocks.1", "up_blocks.2", "up_blocks.3"}, is_xl=False)
    for path in _text_paths():
        key = f"lora_te_{path.replace('.', '_')}"
        name = Name(key, key, f"text_encoder.{path}")
        found |= {key: name, key.replace("lora_te_", "lora_te1_"): name}
    return found


@lru_cache(maxsize=1)
def _xl_names() -> Mapping[str, Name]:
    unet = _unet_paths(levels=3, down={1, 2}, up={0, 1})
    found = _unet_names(unet, {"up_blocks.0", "up_blocks.1"}, is_xl=True)
    for path in _text_paths():
        for part, encoder in (("te1", "text_encoder"), ("te2", "text_encoder_2")):
            key = f"lora_{part}_{path.replace('.', '_')}"
            found[key] = Name(key, key, f"{encoder}.{path}")
    return found


def _unet_names(paths: Iterator[str], attending: set[str], *, is_xl: bool) -> dict[str, Name]:
    found = {}
    for path in paths:
        diffusers, original = f"lora_unet_{path.replace('.', '_')}", f"lora_unet_{original_name(path, _LAYERS, attending)}"
        name = Name(original if is_xl else diffusers, diffusers, f"unet.{path}")
        found |= {diffusers: name, original: name}
    return found


def _unet_paths(levels: int, down: set[int], up: set[int]) -> Iterator[str]:
    yield from _TOP
    for level in range(levels):
        yield from _level(f"down_blocks.{level}", _LAYERS, level in down)
        yield from _level(f"up_blocks.{level}", _LAYERS + 1, level in up)
        if level < levels - 1:
            yield f"down_blocks.{level}.downsamplers.0.conv"
            yield f"up_blocks.{level}.upsamplers.0.conv"
    yield from (f"mid_block.resnets.{place}.{name}" for place in range(2) for name in _RESIDUAL)
    yield from _attention("mid_block.attentions.0")


def _level(block: str, layers: int, attends: bool) -> Iterator[str]:
    for place in range(layers):
        yield from (f"{block}.resnets.{place}.{name}" for name in _RESIDUAL)
        if attends:
            yield from _attention(f"{block}.attentions.{place}")


def _attention(path: str) -> Iterator[str]:
    yield from (f"{path}.{name}" for name in ("norm", "proj_in", "proj_out"))
    yield from (f"{path}.transformer_blocks.{number}.{name}" for number in range(_DEPTH) for name in _BLOCK)


def _text_paths() -> Iterator[str]:
    yield from ("text_model.final_layer_norm", "text_projection")
    yield from (f"text_model.encoder.layers.{number}.{name}" for number in range(_TEXT_LAYERS) for name in _TEXT)
