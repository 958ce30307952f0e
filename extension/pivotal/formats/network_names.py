"""What trainers call the tensors of a network: kohya's keys, and every other spelling turned into them.

A key names a part of the model (the UNet, a text encoder), a layer in it, and a piece of what is trained there:
kohya and AUTOMATIC1111 ``lora_unet_mid_block_attentions_0_proj_in.lora_up.weight``,
diffusers ``unet.mid_block.attentions.0.proj_in.lora_B.weight`` (older: ``.lora.up.weight``, ``.processor.to_q_lora.up.weight``),
PEFT ``base_model.model.mid_block.attentions.0.proj_in.lora_B.weight``,
OneTrainer ``lora_unet.mid_block.attentions.0.proj_in.lora_up.weight`` (internal), ``unet.middle_block.1.proj_in...`` (OMI).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

PIECES = frozenset((
    "alpha", "scale", "dora_scale", "bias",
    "lora_up.weight", "lora_down.weight", "lora_mid.weight",
    "hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b", "hada_t1", "hada_t2",
    "lokr_w1", "lokr_w1_a", "lokr_w1_b", "lokr_w2", "lokr_w2_a", "lokr_w2_b", "lokr_t2",
    "oft_blocks", "oft_diag", "rescale",
    "weight", "on_input",
    "a1.weight", "a2.weight", "b1.weight", "b2.weight",
    "diff", "diff_b", "w_norm", "b_norm",
))
_ONLY_KOHYA = frozenset(("weight", "on_input", "bias", "scale"))  # behind a dotted path they may be a model's own

_KOHYA = re.compile(r"(?:lora|oft|lycoris)_(unet|te[12]?)_([^.]+)\.(.+)")
_PREFIXES = (  # of dotted keys, and the part of the model they mean; the longer first
    ("base_model.model.unet.", "unet"), ("base_model.model.text_encoder.", "te"), ("base_model.model.text_model.", "te"),
    ("base_model.model.", "unet"), ("model.diffusion_model.", "unet"), ("diffusion_model.", "unet"),
    ("lora_unet.", "unet"), ("unet.", "unet"),
    ("text_encoder_2.", "te2"), ("text_encoder.", "te"), ("lora_te1.", "te"), ("lora_te2.", "te2"), ("lora_te.", "te"),
    ("text_encoders.clip_l.transformer.", "te"), ("text_encoders.clip_g.transformer.", "te2"),  # ComfyUI
    ("te1.", "te"), ("te2.", "te2"), ("te.", "te"), ("clip_l.", "te"), ("clip_g.", "te2"), ("clip_h.", "te"),
)
_BARE_UNET = ("down_blocks.", "mid_block.", "up_blocks.", "conv_in.", "conv_out.", "time_embedding.")
_SPELLINGS = (  # of pieces, in the order in which they are tried
    (re.compile(r"\.processor\."), "."),
    (re.compile(r"_lora\.(up|down)\.weight$"), r".lora_\1.weight"),
    (re.compile(r"\.(?:lora|lora_linear_layer)\.(up|down)\.weight$"), r".lora_\1.weight"),
    (re.compile(r"\.lora_A(?:\.\w+)?\.weight$"), ".lora_down.weight"),
    (re.compile(r"\.lora_B(?:\.\w+)?\.weight$"), ".lora_up.weight"),
    (re.compile(r"\.lora_magnitude_vector(?:\.\w+)*$"), ".dora_scale"),
    (re.compile(r"\.to_out\.lora_"), ".to_out.0.lora_"),
    (re.compile(r"\.self_attn\.to_([qkv])\.lora_"), r".self_attn.\1_proj.lora_"),
    (re.compile(r"\.self_attn\.to_out\.0\.lora_"), ".self_attn.out_proj.lora_"),
)


@dataclass(frozen=True)
class Place:
    """What one key names."""

    part: str  # "unet", "te", "te1" or "te2"; "te" is a first text encoder whose number the key does not tell
    path: str  # of the layer: with dots where the file has them, else with underscores
    piece: str  # one of PIECES
    is_kohya: bool  # the layer is named as kohya does


def place_of(key: str) -> Place | None:
    """What `key` names; None when it is not a network's."""
    match = _KOHYA.fullmatch(key)
    if match:
        piece = _spelled(f".{match[3]}")[1:]
        return Place(match[1], _whole_text_path(match[1], match[2]), piece, True) if piece in PIECES else None
    part, path = _dotted(key)
    if part is None:
        return None
    path = _spelled(path)
    piece = next((".".join(path.split(".")[-count:]) for count in (2, 1) if ".".join(path.split(".")[-count:]) in PIECES), "")
    if not piece or piece in _ONLY_KOHYA or path == piece:
        return None
    return Place(part, _whole_text_path(part, path.removesuffix(f".{piece}")), piece, False)


def kohya_key(place: Place, two_encoders: bool) -> str:
    """``lora_unet_...``, ``lora_te_...``, or with two encoders ``lora_te1_...`` and ``lora_te2_...``."""
    part = place.part
    if not place.is_kohya and part in ("te", "te1"):
        part = "te1" if two_encoders else "te"
    return f"lora_{part}_{place.path.replace('.', '_')}"


def _dotted(key: str) -> tuple[str | None, str]:
    for prefix, part in _PREFIXES:
        if key.startswith(prefix):
            rest = key.removeprefix(prefix)
            return part, f"text_model.{rest}" if prefix.endswith(".text_model.") else rest
    return ("unet", key) if key.startswith(_BARE_UNET) else (None, key)


def _spelled(text: str) -> str:
    for pattern, plain in _SPELLINGS:
        text = pattern.sub(plain, text)
    return text


def _whole_text_path(part: str, path: str) -> str:
    """transformers 5 leaves "text_model." out of some models, and so do files written with it."""
    if part == "unet" or not path.startswith(("encoder.", "encoder_", "embeddings.", "final_layer_norm")):
        return path
    return f"text_model{'_' if path.startswith('encoder_') else '.'}{path}"
