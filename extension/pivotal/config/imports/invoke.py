"""Invoke Training's .yaml."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PureWindowsPath
from typing import Any

from pivotal.config.imports.invoke_names import INVOKE
from pivotal.config.imports.optimizers import ARGUMENTS, INVOKE_OPTIMIZERS, optimizer_of
from pivotal.config.imports.rules import Imported, Reading, apply, flattened, is_off, number

SOURCE = "Invoke Training"
_TYPES = {
    "SD_LORA": (True, False),
    "SDXL_LORA": (True, False),
    "SD_TEXTUAL_INVERSION": (False, True),
    "SDXL_TEXTUAL_INVERSION": (False, True),
    "SDXL_LORA_AND_TEXTUAL_INVERSION": (True, True),
}
# Invoke's own values where a file is silent and ours would be others.
_DEFAULTS = {
    "optimizer.learning_rate": 1e-4,
    "min_snr_gamma": 5.0,
    "lora_rank_dim": 4,
    "train_batch_size": 4,
    "num_vectors": 1,
    "data_loader.resolution": 512,
    "cache_vae_outputs": False,
    "num_validation_images_per_prompt": 4,
    "mixed_precision": "no",
    "weight_dtype": "bfloat16",
    "train_text_encoder": True,
}
_FORMATS = {"fp16": "fp16", "float16": "fp16", "bf16": "bf16", "bfloat16": "bf16", "float32": "fp32", "no": "fp32"}


def is_invoke(settings: Mapping[str, Any]) -> bool:
    """Whether these are settings of Invoke Training."""
    return "data_loader" in settings and "type" in settings


def read_invoke(settings: Mapping[str, Any]) -> Imported:
    """The settings of a run."""
    reading = Reading()
    kind = str(settings.get("type"))
    flat = flattened(settings)
    flat = {**_DEFAULTS, **flat}
    apply(INVOKE, flat, reading)
    rest, ours = reading.rest, reading.flat
    if kind not in _TYPES:
        reading.leave("type", kind, f"There is no such training here; known are {', '.join(_TYPES)}.")
    has_network, has_embedding = _TYPES.get(kind, (True, False))
    if rest.get("model"):
        _model(str(rest["model"]), reading)
    ours["network.method"] = "lora" if has_network else "none"
    if has_network:
        _network(rest, reading, kind)
    if has_embedding:
        _embedding(rest, reading, has_network)
    _base_embeddings(settings.get("base_embeddings"), reading, 1 if has_embedding else 0)
    _rates(rest, reading, has_embedding and has_network)
    _optimizer(rest, reading)
    _loop(rest, reading)
    _data(rest, reading)
    return reading.done(SOURCE)


def _model(model: str, reading: Reading) -> None:
    if model.endswith((".safetensors", ".ckpt")):
        reading.flat["checkpoint"] = PureWindowsPath(model).stem
        reading.change("model", model, "The name as your WebUI lists it, without folders.")
    else:
        reading.leave("model", model, "Load this model in your WebUI: the run takes the checkpoint that is loaded.")


def _network(rest: Mapping[str, Any], reading: Reading, kind: str) -> None:
    ours, trains_text = reading.flat, bool(rest.get("train_text_encoder"))
    ours["network.rank"] = rest.get("lora_rank_dim")
    ours["network.alpha"] = 1.0
    reading.change("lora_rank_dim", rest.get("lora_rank_dim"), "With an alpha of 1, which is fixed there.")
    ours |= {"targets.text_encoder_1": trains_text, "targets.text_encoder_2": trains_text and kind.startswith("SDXL")}
    if not is_off(rest.get("unet_lora_target_modules")):
        reading.leave("unet_lora_target_modules", rest["unet_lora_target_modules"],
                      "Choose the layers (targets.layers), or name them (targets.filter).")


def _embedding(rest: Mapping[str, Any], reading: Reading, has_network: bool) -> None:
    """A phrase sets the number of vectors; a token is copied to all of them."""
    ours, phrase, token = reading.flat, rest.get("initial_phrase"), rest.get("initializer_token")
    if not is_off(phrase):
        ours |= {"embeddings.0.initial_text": phrase, "embeddings.0.token_count": None}
    else:
        ours |= {
            "embeddings.0.initial_text": token,
            "embeddings.0.token_count": rest.get("num_vectors"),
            "embeddings.0.fill": "repeat",
        }
    if has_network and rest.get("train_ti") is False:
        ours["embeddings.0.train"] = False
    ratio = number(rest.get("ti_train_steps_ratio"))
    if ratio:
        ours |= {"embeddings.0.stop_after": ratio * 100, "embeddings.0.stop_unit": "percent"}
        reading.change("ti_train_steps_ratio", ratio,
                       "In percent of the run. Invoke goes on after one step; here it stays frozen.")


def _base_embeddings(files: Any, reading: Reading, first: int) -> None:
    """Finished embeddings that captions may use."""
    for index, (word, path) in enumerate(files.items() if isinstance(files, Mapping) else ()):
        row = f"embeddings.{first + index}"
        reading.flat |= {f"{row}.placeholder": word, f"{row}.base_embedding": path, f"{row}.train": False}


def _rates(rest: Mapping[str, Any], reading: Reading, is_pivotal: bool) -> None:
    ours, base = reading.flat, rest.get("optimizer.learning_rate")
    own = rest.get("textual_inversion_learning_rate", 1e-3 if is_pivotal else None)
    ours["optimizer.learning_rate"] = base if own is None else own
    if ours["network.method"] == "none":
        return
    unet = rest.get("unet_learning_rate", 1e-4 if is_pivotal else None)
    text = rest.get("text_encoder_learning_rate", 1e-5 if is_pivotal else None)
    ours["targets.learning_rate"] = base if unet is None else unet
    ours["targets.text_encoder_1_rate"] = ours["targets.text_encoder_2_rate"] = base if text is None else text


def _optimizer(rest: Mapping[str, Any], reading: Reading) -> None:
    arguments = {name: rest[f"optimizer.{name}"] for name in ARGUMENTS if f"optimizer.{name}" in rest}
    if "optimizer.epsilon" in rest:
        arguments["eps"] = rest["optimizer.epsilon"]
    name = str(rest.get("optimizer.optimizer_type", "AdamW"))
    optimizer_of(f"{name}8bit" if rest.get("optimizer.use_8bit") else name, arguments, INVOKE_OPTIMIZERS, reading)


def _loop(rest: Mapping[str, Any], reading: Reading) -> None:
    ours, gamma = reading.flat, number(rest.get("min_snr_gamma"))
    if gamma:
        ours |= {"loss.weighting": "min-snr", "loss.gamma": gamma}
        reading.change("min_snr_gamma", gamma, "The paper's weight; Invoke's for models that predict velocity differs.")
    ours["schedule.warmup"] = rest.get("lr_warmup_steps")
    mixed, weights = str(rest.get("mixed_precision")), str(rest.get("weight_dtype"))
    name = weights if mixed == "no" else mixed
    if name in _FORMATS:
        ours["precision.compute"] = _FORMATS[name]
        if mixed == "no" and name != "float32":
            reading.change("weight_dtype", weights, "Of the model's work; what is trained is fp32 here.")
    else:
        reading.leave("mixed_precision", name, f"Known are {', '.join(_FORMATS)}.")
    if number(rest.get("validate_every_n_epochs")):
        ours |= {"samples.every_epochs": rest["validate_every_n_epochs"], "samples.every_steps": 0}
    prompts, negative = rest.get("validation_prompts"), rest.get("negative_validation_prompts")
    if not is_off(prompts):
        prompts = prompts if isinstance(prompts, list) else [prompts]
        pairs = zip(prompts, negative if isinstance(negative, list) else [None] * len(prompts), strict=False)
        ours["samples.prompts"] = [f"{prompt} --n {other}" if other else str(prompt) for prompt, other in pairs]


def _data(rest: Mapping[str, Any], reading: Reading) -> None:
    ours, place = reading.flat, {name.removeprefix("data_loader."): value for name, value in rest.items()}
    for name, prefix in (
        ("dataset.dataset_dir", ""),
        ("instance_dataset.dataset_dir", ""),
        ("dataset.jsonl_path", ""),
        ("dataset.dataset_name", "hf:"),
    ):
        if place.get(name):
            ours["dataset.folder"] = f"{prefix}{place[name]}"
    if place.get("class_dataset.dataset_dir"):
        ours |= {
            "concepts.0.folder": place["class_dataset.dataset_dir"],
            "concepts.0.kind": "regularization",
            "concepts.0.text": place.get("class_caption"),
        }
    target = place.get("aspect_ratio_buckets.target_resolution")
    sides = target or place.get("resolution")
    # (height, width) there; width x height here
    ours["dataset.resolution"] = f"{sides[1]}x{sides[0]}" if isinstance(sides, (list, tuple)) else str(sides)
    ours["buckets.kind"] = "invoke" if target else "off"
    if not is_off(place.get("shuffle_caption_delimiter")):
        ours |= {"caption.shuffle": True, "caption.delimiter": place["shuffle_caption_delimiter"]}
    templates = place.get("caption_templates")
    if not is_off(templates):
        ours |= {"dataset.captions": "own", "dataset.templates": templates}
