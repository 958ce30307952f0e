"""The recipe that stands in the metadata of a network's or an embedding's file: ours, whole; kohya's, as far as it is written."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping
from typing import Any

from pivotal.config.build import options_of
from pivotal.config.imports.kohya import read_kohya
from pivotal.config.imports.rules import Imported, Told
from pivotal.config.train import TrainConfig

_OURS = "pivotal."
_NO_OPTIONS = ("version", "step")  # under our prefix, facts of the run
_UNSAID = "Files and folders are not written into results; yours stay."
# kohya's trainers write most settings under "ss_" and their own name (sd-scripts, train_network.py); these otherwise.
_NAMES = {"batch_size_per_device": "train_batch_size", "optimizer": "optimizer_type"}
_SETTINGS = frozenset({
    "learning_rate", "unet_lr", "text_encoder_lr", "max_train_steps", "lr_warmup_steps", "lr_scheduler", "network_module",
    "network_dim", "network_alpha", "network_dropout", "network_args", "mixed_precision", "seed", "max_grad_norm",
    "caption_dropout_rate", "caption_dropout_every_n_epochs", "caption_tag_dropout_rate", "face_crop_aug_range",
    "prior_loss_weight", "min_snr_gamma", "scale_weight_norms", "ip_noise_gamma", "debiased_estimation", "noise_offset",
    "multires_noise_iterations", "multires_noise_discount", "adaptive_noise_scale", "zero_terminal_snr", "clip_skip",
    "max_token_length", "gradient_checkpointing", "gradient_accumulation_steps", "cache_latents", "optimizer",
    "batch_size_per_device", "resolution", "color_aug", "flip_aug", "random_crop", "shuffle_caption", "keep_tokens",
    "enable_bucket", "bucket_no_upscale", "min_bucket_reso", "max_bucket_reso", "loss_type", "huber_schedule", "huber_c",
    "v_parameterization", "output_name"})


def read_metadata(metadata: Mapping[str, str]) -> Imported | None:
    """A run's options; None where the metadata tells of no training."""
    if any(name.startswith(_OURS) for name in metadata):
        return _own(metadata)
    theirs = {name.removeprefix("ss_"): _value(text) for name, text in metadata.items() if name.startswith("ss_")}
    return _kohyas(theirs) if theirs.keys() & {"learning_rate", "network_dim", "network_module"} else None


def _own(metadata: Mapping[str, str]) -> Imported:
    """Our own files say every option but those that name files."""
    told = {name.removeprefix(_OURS): text for name, text in metadata.items() if name.startswith(_OURS)}
    known = options_of(TrainConfig, told)
    flat = {key: text for key, text in told.items() if key in known and key != "checkpoint"}
    unknown = tuple(Told(key, text, "This version of Pivotal has no such option.") for key, text in told.items()
                    if key not in known and key not in _NO_OPTIONS)
    version = told.get("version", "")
    changed = [Told("files and folders", "", _UNSAID)]
    if told.get("checkpoint"):
        changed.append(Told("checkpoint", told["checkpoint"], "It was trained on this one; load it, or stay as you are."))
    return Imported(f"Pivotal {version}".strip(), flat, tuple(changed), unknown, ())


def _kohyas(theirs: Mapping[str, Any]) -> Imported:
    settings = {_NAMES.get(name, name): value for name, value in theirs.items() if name in _SETTINGS and value is not None}
    settings |= {_NAMES.get(name, name): value for name, value in _first_dataset(theirs).items()
                 if name in _SETTINGS and value is not None}
    if isinstance(settings.get("network_args"), Mapping):
        settings["network_args"] = [f"{name}={value}" for name, value in settings["network_args"].items()]
    name, arguments = _optimizer(str(settings.get("optimizer_type", "")))
    if name:
        settings |= {"optimizer_type": name, "optimizer_args": arguments}
    if "resolution" in settings:
        settings["resolution"] = ",".join(re.findall(r"\d+", str(settings["resolution"])))
    if str(theirs.get("base_model_version", "")).startswith("sdxl"):
        settings["sdxl"] = True
    if "text_encoder_lr" not in settings:
        settings["network_train_unet_only"] = True  # kohya writes None where it was not trained
    found = read_kohya({"enable_bucket": False, "optimizer_type": "AdamW", **settings})
    flat = {key: value for key, value in found.flat.items() if key not in ("dataset.caption_extension", "checkpoint")}
    return Imported(f"kohya's metadata ({theirs.get('sd_model_name') or 'no checkpoint named'})", flat, found.changed,
                    found.unknown, found.quiet)


def _first_dataset(theirs: Mapping[str, Any]) -> dict[str, Any]:
    """Of a run with a dataset file, the first dataset's settings; those of its subsets come first."""
    datasets = theirs.get("datasets")
    if not isinstance(datasets, list) or not datasets or not isinstance(datasets[0], Mapping):
        return {}
    subsets = datasets[0].get("subsets")
    first = subsets[0] if isinstance(subsets, list) and subsets and isinstance(subsets[0], Mapping) else {}
    return {str(name): value for name, value in {**datasets[0], **first}.items()}


def _optimizer(text: str) -> tuple[str, list[str]]:
    """``bitsandbytes.optim.adamw.AdamW8bit(weight_decay=0.1,betas=(0.9, 0.99))`` as class and arguments."""
    match = re.fullmatch(r"\s*([\w.]+)\s*(?:\((.*)\))?\s*", text, re.DOTALL)
    if match is None:
        return "", []
    pieces = re.split(r",(?=\s*\w+\s*=)", match[2] or "")
    return match[1].rpartition(".")[2], [piece.strip() for piece in pieces if "=" in piece]


def _value(text: str) -> Any:
    """kohya writes everything as text: numbers, None, True, and JSON."""
    if text in ("None", ""):
        return None
    if text[:1] in "{[":
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            return text
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text
    return value if isinstance(value, (bool, int, float)) else text
