"""Text encoders in the original layout: configurations for transformers, and names; views only, never copies."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import count

from torch import Tensor
from transformers import CLIPTextConfig

from pivotal.errors import FormatError
from pivotal.models.ldm_layout_unet import shape_of

HEAD_WIDTH = 64  # of every CLIP text encoder of SD 1, 2 and XL

_OPEN_CLIP_TOP = {
    "token_embedding.weight": "text_model.embeddings.token_embedding.weight",
    "positional_embedding": "text_model.embeddings.position_embedding.weight",
    "ln_final.weight": "text_model.final_layer_norm.weight",
    "ln_final.bias": "text_model.final_layer_norm.bias",
}
_OPEN_CLIP_LAYER = {
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
    "attn.out_proj": "self_attn.out_proj",
}
_UNUSED = ("logit_scale", "attn_mask", "position_ids", "text_projection", "text_projection.weight")


def clip_tensors(encoder: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A CLIP of transformers, as SD 1 files have it; some merges lack ``text_model.``."""
    named = {}
    for name, tensor in encoder.items():
        if not name.endswith(_UNUSED):
            named[name if name.startswith("text_model.") else f"text_model.{name}"] = tensor
    return named


def open_clip_tensors(encoder: Mapping[str, Tensor], projection: bool) -> dict[str, Tensor]:
    """An OpenCLIP text encoder under the names of transformers, which some hosts have given it already.

    q, k and v are rows of one tensor there (torch.nn.MultiheadAttention); the projection is transposed.
    """
    named = {}
    for name, tensor in encoder.items():
        if name in _OPEN_CLIP_TOP:
            named[_OPEN_CLIP_TOP[name]] = tensor
        elif name.startswith("transformer.resblocks."):
            named |= _open_clip_layer(name.removeprefix("transformer.resblocks."), tensor)
        elif name.startswith("text_model.") and not name.endswith(_UNUSED):
            named[name] = tensor
        elif not name.endswith(_UNUSED) and not name.startswith("visual."):
            raise FormatError(f"its text encoder has an unknown tensor {name}")
    if projection:
        if "text_projection.weight" in encoder:
            named["text_projection.weight"] = encoder["text_projection.weight"]
        else:
            shape_of(encoder, "text_projection", "text encoder")
            named["text_projection.weight"] = encoder["text_projection"].t()
    return named


def _open_clip_layer(name: str, tensor: Tensor) -> dict[str, Tensor]:
    index, _, rest = name.partition(".")
    layer = f"text_model.encoder.layers.{index}"
    if rest in ("attn.in_proj_weight", "attn.in_proj_bias"):
        kind = rest.rpartition("_")[2]
        thirds = zip("qkv", tensor.chunk(3), strict=True)
        return {f"{layer}.self_attn.{which}_proj.{kind}": third for which, third in thirds}
    module, _, kind = rest.rpartition(".")
    if module not in _OPEN_CLIP_LAYER:
        raise FormatError(f"its text encoder has an unknown tensor transformer.resblocks.{name}")
    return {f"{layer}.{_OPEN_CLIP_LAYER[module]}.{kind}": tensor}


def text_config(encoder: Mapping[str, Tensor], activation: str) -> CLIPTextConfig:
    """The configuration of a text encoder whose tensors have the names of transformers.

    Args:
        activation: "quick_gelu" for OpenAI's CLIP-L, "gelu" for OpenCLIP.
    """
    vocabulary, width = shape_of(encoder, "text_model.embeddings.token_embedding.weight", "text encoder")
    projection = encoder.get("text_projection.weight")
    return CLIPTextConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        intermediate_size=shape_of(encoder, "text_model.encoder.layers.0.mlp.fc1.weight", "text encoder")[0],
        num_hidden_layers=next(n for n in count() if f"text_model.encoder.layers.{n}.mlp.fc1.weight" not in encoder),
        num_attention_heads=max(1, width // HEAD_WIDTH),
        max_position_embeddings=encoder["text_model.embeddings.position_embedding.weight"].shape[0],
        projection_dim=width if projection is None else projection.shape[0],
        hidden_act=activation,
        bos_token_id=49406,
        eos_token_id=2,  # tells every version of transformers to find the end of the text by the largest id
    )
