"""OneTrainer's .json: settings with concepts, additional embeddings and samples, and a file of concepts alone.

Its step is one batch, not one update: where it counts steps, we divide by the accumulation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PureWindowsPath
from typing import Any

from pivotal.config.imports.onetrainer_data import concepts_of, samples_of
from pivotal.config.imports.onetrainer_loop import ema_of, loss_of, schedule_of
from pivotal.config.imports.onetrainer_names import EMBEDDING_ROW, ONETRAINER
from pivotal.config.imports.onetrainer_units import interval_of, stop_of
from pivotal.config.imports.optimizers import ARGUMENTS, ONETRAINER_OPTIMIZERS, optimizer_of
from pivotal.config.imports.rules import Imported, Reading, Told, apply, flattened, is_off, number

SOURCE = "OneTrainer"
_METHODS = {"LORA": "lora", "LOHA": "loha", "LOKR": "lokr", "OFT_2": "oft"}
_LAYERS = {"attn-mlp": "attention and feed-forward", "attn-only": "attention", "full": "attention and feed-forward"}
# OneTrainer's own values where a file is silent and ours would be others.
_DEFAULTS = {
    "epochs": 100,
    "batch_size": 1,
    "learning_rate": 3e-6,
    "learning_rate_warmup_steps": 200,
    "resolution": "512",
    "clip_grad_norm": 1.0,
    "lora_rank": 16,
    "lora_alpha": 1.0,
    "output_dtype": "FLOAT_32",
    "train_dtype": "FLOAT_16",
    "aspect_ratio_bucketing": True,
    "latent_caching": True,
}


def is_onetrainer(settings: Mapping[str, Any]) -> bool:
    """Whether these are settings of OneTrainer."""
    return "training_method" in settings or "model_type" in settings and "base_model_name" in settings


def read_onetrainer(settings: Mapping[str, Any]) -> Imported:
    """The settings of a run."""
    reading = Reading()
    flat = {**_DEFAULTS, **flattened(settings)}
    if isinstance(settings.get("optimizer_defaults"), Mapping):
        flat = {name: value for name, value in flat.items() if not name.startswith("optimizer_defaults.")}
    apply(ONETRAINER, {name: value for name, value in flat.items() if not name.startswith("embedding.")}, reading)
    rest, ours = reading.rest, reading.flat
    accumulation = int(number(flat.get("gradient_accumulation_steps")) or 1)
    _model(rest, reading)
    _network(rest, reading)
    _rates(rest, reading, accumulation)
    _embeddings(settings, rest, reading, accumulation)
    arguments = {name: rest[f"optimizer.{name}"] for name in ARGUMENTS if f"optimizer.{name}" in rest}
    name = str(rest.get("optimizer.optimizer") or rest.get("optimizer") or "ADAMW")
    optimizer_of(name, arguments, ONETRAINER_OPTIMIZERS, reading)
    schedule_of(rest, reading, accumulation)
    ema_of(rest, reading)
    loss_of(rest, reading)
    if not flat.get("masked_training"):
        reading.changed = [told for told in reading.changed if told.key != "unmasked_probability"]
    for name, key in (("sample_after", "samples.every"), ("save_every", "save.every"), ("save_after", "save.every"),
                      ("backup_after", "save.state_every")):  # fmt: skip
        interval_of(name, key, rest, reading, accumulation)
    if rest.get("validation"):
        interval_of("validate_after", "measure.every", rest, reading, accumulation)
    ours["samples.weights"] = "both" if rest.get("non_ema_sampling") and "optimizer.ema_decay" in ours else None
    concepts_of(rest.get("concepts"), reading)
    samples_of(rest.get("samples"), reading)
    return reading.done(SOURCE)


def read_concepts(concepts: Sequence[Mapping[str, Any]]) -> Imported:
    """A file of concepts alone."""
    reading = Reading()
    concepts_of(concepts, reading)
    return reading.done(SOURCE)


def _model(rest: Mapping[str, Any], reading: Reading) -> None:
    ours, model = reading.flat, str(rest.get("base_model_name", ""))
    if model.endswith((".safetensors", ".ckpt")):
        ours["checkpoint"] = PureWindowsPath(model).stem
        reading.change("base_model_name", model, "The name as your WebUI lists it, without folders.")
    elif model:
        reading.leave("base_model_name", model, "Load this model in your WebUI: the run takes the checkpoint that is loaded.")
    if rest.get("output_model_destination"):
        ours["name"] = PureWindowsPath(str(rest["output_model_destination"])).stem
    skip = int(number(rest.get("text_encoder_layer_skip")) or 0)
    if skip:
        is_sdxl = "XL" in str(rest.get("model_type", ""))
        ours["objective.clip_skip"] = skip + (2 if is_sdxl else 1)
        reading.change("text_encoder_layer_skip", skip,
                       "Counts from the usual layer; clip skip counts from the last, which is 1.")
    dtype = str(rest.get("train_dtype", ""))
    known = {"FLOAT_32": "fp32", "FLOAT_16": "fp16", "BFLOAT_16": "bf16", "TFLOAT_32": "fp32"}
    if dtype in known:
        ours["precision.compute"] = known[dtype]
        ours["precision.tf32"] = "on" if dtype == "TFLOAT_32" else None
    elif dtype:
        reading.leave("train_dtype", dtype, f"Known are {', '.join(known)}.")
    names = ("gradient_checkpointing", "unet.gradient_checkpointing")
    given = [value for name in names for value in [rest.get(name)] if value is not None]
    ours["precision.gradient_checkpointing"] = any(str(value).upper() not in ("OFF", "FALSE") for value in given or [True])


def _network(rest: Mapping[str, Any], reading: Reading) -> None:
    method, kind = str(rest.get("training_method", "LORA")), str(rest.get("peft_type", "LORA"))
    ours = reading.flat
    if method == "EMBEDDING":
        ours["network.method"] = "none"
        return
    if method != "LORA":
        ours["network.method"] = "full"
        reading.change("training_method", method,
                       "The whole difference of the chosen layers is trained, and written as a network; the checkpoint "
                       "stays as it is.")
        return
    if kind not in _METHODS:
        reading.leave("peft_type", kind, f"There is no such network here; known are {', '.join(_METHODS)}.")
    ours["network.method"] = _METHODS.get(kind, "lora")
    ours["network.rank"] = rest.get(
        {"OFT_2": "oft_block_size", "LOKR": "lokr_dim"}.get(kind, "lora_rank"), ours.get("network.rank")
    )
    if kind == "LOKR" and rest.get("lokr_weight_decompose"):
        ours["network.dora"] = True
    _layers(rest, reading)


def _layers(rest: Mapping[str, Any], reading: Reading) -> None:
    preset, ours = str(rest.get("layer_filter_preset") or "full"), reading.flat
    if preset in _LAYERS:
        ours["targets.layers"] = _LAYERS[preset]
        if preset == "full":
            ours["network.conv_rank"] = ours.get("network.rank")
            reading.change("layer_filter_preset", preset, "All layers: the convolutions get the same rank.")
    elif preset == "custom" and not is_off(rest.get("layer_filter")):
        words = [word.strip() for word in str(rest["layer_filter"]).split(",") if word.strip()]
        escaped = words if rest.get("layer_filter_regex") else [word.replace(".", r"\.") for word in words]
        ours["targets.filter"] = "|".join(escaped)
        reading.change("layer_filter", rest["layer_filter"], "As a regular expression on the names of layers.")
    else:
        reading.leave("layer_filter_preset", preset, f"There is no such choice of layers; known are {', '.join(_LAYERS)}.")


def _rates(rest: Mapping[str, Any], reading: Reading, accumulation: int) -> None:
    """An empty rate is the run's."""
    ours, base = reading.flat, rest.get("learning_rate")
    own = rest.get("embedding_learning_rate")
    ours["optimizer.learning_rate"] = base if is_off(own) else own
    if ours["network.method"] == "none":
        return
    for part, switch, rate in (
        ("unet", "targets.unet", "targets.learning_rate"),
        ("text_encoder", "targets.text_encoder_1", "targets.text_encoder_1_rate"),
        ("text_encoder_2", "targets.text_encoder_2", "targets.text_encoder_2_rate"),
    ):
        old = "train_unet" if part == "unet" else "train_text_encoder"  # of old files, for both text encoders
        has_second = "XL" in str(rest.get("model_type", ""))
        ours[switch] = bool(rest.get(f"{part}.train", rest.get(old, True))) and (part != "text_encoder_2" or has_second)
        given = rest.get(f"{part}.learning_rate", rest.get(f"{part.removesuffix('_2')}_learning_rate"))
        ours[rate] = base if is_off(given) else given
    stop_of("unet.", "targets.stop_after", "targets.stop_unit", rest, reading, accumulation)
    stop_of("text_encoder.", "targets.text_encoder_stop_after", "targets.text_encoder_stop_unit", rest, reading, accumulation)
    epochs = number(rest.get("train_text_encoder_epochs"))
    if epochs and ours.get("targets.text_encoder_1"):
        ours |= {"targets.text_encoder_stop_after": epochs, "targets.text_encoder_stop_unit": "epochs"}


def _embeddings(settings: Mapping[str, Any], rest: Mapping[str, Any], reading: Reading, accumulation: int) -> None:
    """The embedding of its embedding method, and the additional ones of all methods."""
    rows, main = list(rest.get("additional_embeddings", [])), settings.get("embedding")
    if rest.get("training_method") == "EMBEDDING":  # old files have its settings beside the others
        old = {name: settings[name] for name in ("token_count", "initial_embedding_text") if name in settings}
        rows = [main if isinstance(main, Mapping) and main else old, *rows]
    for index, row in enumerate(rows):
        mine = Reading()
        apply(EMBEDDING_ROW, row, mine)
        if "token_count" in row and is_off(row["token_count"]):
            mine.flat["token_count"] = None
        elif "token_count" not in row:
            mine.flat["token_count"] = 1
        stop_of("", "stop_after", "stop_unit", mine.rest, mine, accumulation)
        mine.flat["preserve_norm"] = bool(rest.get("preserve_embedding_norm", False))
        reading.flat |= {f"embeddings.{index}.{name}": value for name, value in mine.flat.items() if value is not None}
        for mine_told, told in ((mine.changed, reading.changed), (mine.unknown, reading.unknown), (mine.quiet, reading.quiet)):
            told += [Told(f"embedding {index + 1}: {one.key}", one.value, one.text) for one in mine_told]
