"""AUTOMATIC1111's settings-....json, which its Train tab writes beside the logs of each training."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PureWindowsPath
from typing import Any

from pivotal.config.imports.a1111_names import A1111_FILE
from pivotal.config.imports.rules import Imported, Reading, apply, is_off, number

SOURCE = "AUTOMATIC1111"
_ITS_OWN = {"data_root", "learn_rate", "gradient_step", "template_file", "training_width", "training_height", "clip_grad_mode",
            "create_image_every", "latent_sampling_method", "embedding_name", "save_embedding_every"}
_FLAGS = {"w": "preview_width", "h": "preview_height", "d": "preview_seed", "l": "preview_cfg_scale", "s": "preview_steps",
          "n": "preview_negative_prompt"}


def is_a1111(settings: Mapping[str, Any]) -> bool:
    """Whether these are settings of A1111's Train tab."""
    return len(settings.keys() & _ITS_OWN) >= 3


def read_a1111(settings: Mapping[str, Any]) -> Imported:
    """The settings of a training; what its tab never says is as A1111 has it: AdamW without decay, one size for all images."""
    reading = Reading()
    apply(A1111_FILE, settings, reading)
    rest, ours = reading.rest, reading.flat
    ours |= {"network.method": "none", "optimizer.kind": "adamw", "optimizer.weight_decay": 0.0, "cache.latents": "memory"}
    if not is_off(settings.get("template_file")):
        ours["dataset.captions"] = "list"
    if "hypernetwork_name" in settings:
        ours["network.method"] = "lora"  # so that the run has something to train
    _model(rest, reading)
    _size(rest, reading)
    _rates(rest, reading)
    _clipping(rest, reading)
    if not is_off(rest.get("preview_prompt")):
        ours["samples.prompts"] = [_sample(rest)]
    if "embedding_name" in settings:
        reading.change("embedding_name", settings["embedding_name"],
                       "A new embedding of this name; the file does not say from what text it began (embeddings.0.initial_text).")
    return reading.done(SOURCE)


def _model(rest: Mapping[str, Any], reading: Reading) -> None:
    if rest.get("model_name"):
        name = str(rest["model_name"])
        is_file = name.lower().endswith((".safetensors", ".ckpt"))
        reading.flat["checkpoint"] = PureWindowsPath(name).stem if is_file else PureWindowsPath(name).name


def _size(rest: Mapping[str, Any], reading: Reading) -> None:
    """One size for all, whatever their form; A1111 stretches them to it."""
    sides = [rest.get("training_width"), rest.get("training_height")]
    if all(number(side) for side in sides):
        reading.flat |= {"dataset.resolution": "x".join(str(int(number(side) or 0)) for side in sides), "buckets.kind": "off"}
        reading.change("training_width", "x".join(map(str, sides)), "Images are cut to this size; A1111 stretches them.")


def _rates(rest: Mapping[str, Any], reading: Reading) -> None:
    text = str(rest.get("learn_rate", ""))
    rate = number(text.partition(",")[0].partition(":")[0])
    if rate is None:
        reading.leave("learn_rate", text, "Expected a number, or rates with steps as 0.005:100, 0.001.")
        return
    reading.flat["optimizer.learning_rate"] = rate
    if number(text) is None:
        reading.flat |= {"schedule.kind": "rate list", "schedule.rates": text.strip().rstrip(",")}


def _clipping(rest: Mapping[str, Any], reading: Reading) -> None:
    mode, limit = str(rest.get("clip_grad_mode", "disabled")), number(rest.get("clip_grad_value"))
    if mode == "norm" and limit:
        reading.flat["optimizer.clip_norm"] = limit
    elif mode == "norm":
        reading.leave("clip_grad_value", rest.get("clip_grad_value"), "One limit holds for the whole run (optimizer.clip_norm).")
    elif mode == "value":
        reading.leave("clip_grad_mode", mode, "Gradients are limited by their norm, all together (optimizer.clip_norm).")


def _sample(rest: Mapping[str, Any]) -> str:
    flags = {flag: rest.get(name) for flag, name in _FLAGS.items()}
    words = [f"--{flag} {' '.join(str(value).split())}" for flag, value in flags.items()
             if not is_off(value) and number(value) != -1]
    return " ".join([" ".join(str(rest["preview_prompt"]).split()), *words])
