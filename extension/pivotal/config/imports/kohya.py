"""Files of kohya's trainers: the GUI's .json, sd-scripts' .toml, and a dataset's .toml."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PureWindowsPath
from typing import Any

from pivotal.config.imports.kohya_data import SOURCE, dataset_of
from pivotal.config.imports.kohya_names import KOHYA
from pivotal.config.imports.kohya_network import network_of
from pivotal.config.imports.optimizers import KOHYA_OPTIMIZERS, named_arguments, optimizer_of
from pivotal.config.imports.rules import Imported, Reading, Told, apply, number
from pivotal.config.sample_lines import sampler_names

_SCHEDULES = {
    "linear": "linear",
    "cosine": "cosine",
    "constant": "constant",
    "constant_with_warmup": "constant",
    "polynomial": "polynomial",
    "cosine_with_restarts": "cosine with restarts",
    "inverse_sqrt": "inverse square root",
    "adafactor": "constant",
}
# sd-scripts' own values where a file is silent and ours would be others. The GUI's files name everything.
_SCRIPT_DEFAULTS = {
    "learning_rate": 2e-6,
    "train_batch_size": 1,
    "max_train_steps": 1600,
    "max_grad_norm": 1.0,
    "caption_extension": ".caption",
    "optimizer_type": "AdamW",
    "enable_bucket": False,
}


def is_kohya(settings: Mapping[str, Any]) -> bool:
    """Whether these are settings of kohya's trainers."""
    return len(_without_headings(settings).keys() & KOHYA.keys()) >= 3


def read_kohya(settings: Mapping[str, Any]) -> Imported:
    """The settings of a run, from the GUI or from sd-scripts; a dataset by `read_dataset`."""
    reading = Reading()
    from_gui = "LoRA_type" in settings or "max_resolution" in settings
    flat = _without_headings(settings)
    if not from_gui:
        flat = {**_SCRIPT_DEFAULTS, **flat}
    apply(KOHYA, flat, reading)
    rest, ours = reading.rest, reading.flat
    _model(rest, reading)
    dataset_of(rest, reading, from_gui)
    ours["optimizer.learning_rate"] = rest.get("learning_rate")
    trains_network = "token_string" not in flat and "num_vectors_per_token" not in flat
    if trains_network:
        network_of(rest, reading, from_gui, bool(flat.get("sdxl") or flat.get("sdxl_checkbox")))
    else:
        ours["network.method"] = "none"
    optimizer_of(_optimizer_name(rest), named_arguments(rest.get("optimizer_args")), KOHYA_OPTIMIZERS, reading)
    _length(rest, reading, from_gui)
    _schedule(rest, reading)
    _loss(rest, reading)
    _output(rest, reading)
    cached = bool(rest.get("cache_latents")) or "cache.latents" in ours
    ours |= {"cache.latents": ours.get("cache.latents", "memory" if cached else "off"),
             "cache.sampling": "once" if cached else "anew"}  # what it caches is one draw
    if rest.get("output_name"):
        ours["name"] = str(rest["output_name"])
        if not trains_network:
            reading.change("output_name", rest["output_name"],
                           f"The prompt word of an embedding is its placeholder here, {flat.get('token_string')!r}, and not the "
                           "file's name.")
    return reading.done(SOURCE)


def _without_headings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """A .toml of sd-scripts may have headings, which its parser ignores."""
    flat = {name: value for name, value in settings.items() if not isinstance(value, Mapping)}
    for value in settings.values():
        flat |= value if isinstance(value, Mapping) else {}
    return flat


def _model(rest: Mapping[str, Any], reading: Reading) -> None:
    """A file's name may be one that the host lists; a name on a hub is none."""
    model = str(rest.get("pretrained_model_name_or_path", ""))
    if model.endswith((".safetensors", ".ckpt")):
        reading.flat["checkpoint"] = PureWindowsPath(model).stem  # reads both kinds of slashes
        reading.change("pretrained_model_name_or_path", model, "The name as your WebUI lists it, without folders.")
    elif model:
        reading.leave("pretrained_model_name_or_path", model,
                      "Load this model in your WebUI: the run takes the checkpoint that is loaded.")


def _optimizer_name(rest: Mapping[str, Any]) -> str:
    if rest.get("use_8bit_adam"):
        return "AdamW8bit"
    if rest.get("use_lion_optimizer"):
        return "Lion"
    return str(rest.get("optimizer_type") or rest.get("optimizer") or "AdamW")


def _length(rest: Mapping[str, Any], reading: Reading, from_gui: bool) -> None:
    """Epochs win over steps, but for the GUI, whose steps are a cap on its epochs."""
    ours, steps = reading.flat, number(rest.get("max_train_steps"))
    epochs = number(rest.get("max_train_epochs")) or (number(rest.get("epoch")) if not steps else None)
    if epochs:
        ours["length.epochs"] = epochs
        if steps and from_gui:
            reading.change("max_train_steps", rest["max_train_steps"], "The epochs count, as in kohya's scripts.")
    elif steps:
        ours["length.steps"] = rest["max_train_steps"]


def _schedule(rest: Mapping[str, Any], reading: Reading) -> None:
    kind, ours = str(rest.get("lr_scheduler") or "constant"), reading.flat
    if kind in _SCHEDULES:
        ours["schedule.kind"] = _SCHEDULES[kind]
    else:
        reading.leave("lr_scheduler", kind, "There is no schedule of this name; draw one with schedule.points.")
    percent, steps = number(rest.get("lr_warmup")), number(rest.get("lr_warmup_steps"))
    if steps:
        ours["schedule.warmup"] = steps  # both count below 1 as a share
    elif percent:
        ours["schedule.warmup"] = percent / 100
        reading.change("lr_warmup", rest["lr_warmup"], "Percent of the steps; a share of the run here.")
    if kind == "constant" and (steps or percent):
        reading.change("lr_scheduler", kind, "kohya refuses a constant rate with a warm-up; here it has one.")


def _loss(rest: Mapping[str, Any], reading: Reading) -> None:
    ours, gamma = reading.flat, number(rest.get("min_snr_gamma"))
    if gamma:
        ours |= {"loss.weighting": "min-snr", "loss.gamma": gamma}
    if rest.get("debiased_estimation_loss"):
        ours["loss.weighting"] = "debiased"
        if gamma:
            reading.leave("min_snr_gamma", gamma, "Only one weighting of timesteps counts: the debiased one.")
    kind = str(rest.get("noise_offset_type") or "").lower()  # the GUI's switch between the two
    if kind != "multires":
        ours |= {"noise.offset": rest.get("noise_offset"), "noise.adaptive_scale": rest.get("adaptive_noise_scale")}
    if kind != "original" and number(rest.get("multires_noise_iterations")):
        ours |= {
            "noise.multires_iterations": rest["multires_noise_iterations"],
            "noise.multires_discount": rest.get("multires_noise_discount"),
        }
    unused = {
        "multires": ("noise_offset", "adaptive_noise_scale"),
        "original": ("multires_noise_iterations", "multires_noise_discount"),
    }.get(kind, ())
    reading.quiet += [
        Told(name, rest[name], "Not used in the file: the noise offset type is another.") for name in unused if name in rest
    ]


def _output(rest: Mapping[str, Any], reading: Reading) -> None:
    ours = reading.flat
    epochs, steps = number(rest.get("sample_every_n_epochs")), number(rest.get("sample_every_n_steps"))
    ours["samples.every_steps"] = 0 if epochs or not steps else rest["sample_every_n_steps"]
    ours["samples.every_epochs"] = rest["sample_every_n_epochs"] if epochs else None
    prompts = rest.get("sample_prompts")
    if prompts and str(prompts).endswith((".txt", ".toml", ".json")) and "\n" not in str(prompts):
        reading.leave("sample_prompts", prompts, "Copy the lines of this file into the sample prompts.")
    elif prompts:
        ours["samples.prompts"] = [line for line in str(prompts).splitlines() if line.strip()]
    if rest.get("sample_sampler"):
        _sampler(str(rest["sample_sampler"]), reading)
    every = number(reading.flat.get("save.every_steps")) or number(reading.flat.get("save.every_epochs"))
    last = number(rest.get("save_last_n_steps")) or number(rest.get("save_last_n_epochs"))
    if last and every:
        ours["save.keep_copies"] = max(1, int(last // every))
        reading.change("save_last_n_steps", last,
                       f"kohya keeps the files of so many steps or epochs; here {ours['save.keep_copies']} files.")
    if str(rest.get("log_with")) in ("tensorboard", "all"):
        ours["logs.tensorboard"] = True
    if rest.get("use_wandb") or str(rest.get("log_with")) in ("wandb", "all"):
        ours["logs.wandb"] = str(rest.get("log_tracker_name") or "pivotal")


def _sampler(name: str, reading: Reading) -> None:
    if name.lower() in sampler_names():
        reading.flat["samples.sampler"] = sampler_names()[name.lower()]
    else:
        reading.leave("sample_sampler", name, "There is no such sampler for previews; Euler is taken.")
