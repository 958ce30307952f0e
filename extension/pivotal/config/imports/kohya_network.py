"""kohya's networks: LoRA_type of the GUI, network_module and network_args of sd-scripts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pivotal.config.imports.kohya_names import NETWORK
from pivotal.config.imports.rules import Reading, Told, apply, is_off, number

# Values of LoRA_type, network_module and LyCORIS' algo, in lower case, without "kohya " and "lycoris/".
_METHODS = {
    "standard": "lora",
    "locon": "lora",
    "lora": "lora",
    "networks.lora": "lora",
    "lora-fa": "lora",
    "networks.lora_fa": "lora",
    "loha": "loha",
    "networks.loha": "loha",
    "lokr": "lokr",
    "networks.lokr": "lokr",
    "dylora": "dylora",
    "networks.dylora": "dylora",
    "diag-oft": "oft",
    "networks.oft": "oft",
    "oft": "oft",
    "boft": "boft",
    "ia3": "ia3",
    "glora": "glora",
    "native fine-tuning": "full",
    "full": "full",
}
_LAYERS = {
    "full": "attention and feed-forward",
    "attn-mlp": "attention and feed-forward",
    "attn-only": "attention",
    "unet-transformer-only": "attention and feed-forward",
}
# LyCORIS' arguments that sd-scripts' files carry as text, by the names of the GUI
_ARGUMENTS = {
    "conv_rank": "conv_dim",
    "dropout": "network_dropout",
    "constraint": "constrain",
    "wd_on_out": "dora_wd",
    "preset": "LyCORIS_preset",
    "rank_dropout": "rank_dropout",
}


def network_of(rest: Mapping[str, Any], reading: Reading, from_gui: bool, is_sdxl: bool) -> None:
    """Fills in what the settings about a network say together."""
    words = _arguments(rest.get("network_args"), reading)
    apply(NETWORK, {_ARGUMENTS.get(name, name): value for name, value in words.items() if name != "algo"}, reading)
    rest = {**rest, **reading.rest}
    _method(rest, str(words.get("algo", "")), reading)
    _size(rest, reading)
    _rates(rest, reading, from_gui, is_sdxl)
    _blocks(rest, reading)
    preset = str(rest.get("LyCORIS_preset", "")).lower()
    if preset in _LAYERS:
        reading.flat["targets.layers"] = _LAYERS[preset]
    elif preset:
        reading.leave("LyCORIS_preset", preset, f"There is no such choice of layers; known are {', '.join(_LAYERS)}.")


def _arguments(given: Any, reading: Reading) -> dict[str, Any]:
    """["conv_dim=4", "algo=loha"] as {"conv_dim": "4", "algo": "loha"}."""
    lines = given.split() if isinstance(given, str) else given or []
    found = {}
    for line in lines:
        name, equals, value = str(line).partition("=")
        if equals:
            found[name.strip()] = {"true": True, "false": False}.get(value.strip().lower(), value.strip())
        else:
            reading.leave("network_args", line, "Expected name=value.")
    return found


def _method(rest: Mapping[str, Any], algo: str, reading: Reading) -> None:
    given = str(rest.get("LoRA_type") or rest.get("network_module") or "networks.lora")
    name = given.lower().removeprefix("kohya ").removeprefix("lycoris/")
    if name in ("lycoris.kohya", "networks.lycoris"):
        name = algo.lower() or "lora"
    method = _METHODS.get(name)
    if method is None:
        reading.leave("LoRA_type" if "LoRA_type" in rest else "network_module", given,
                      f"There is no such network here; known are {', '.join(dict.fromkeys(_METHODS.values()))}.")
    elif "lora_fa" in name or "lora-fa" in name:
        reading.change("network_module", given, "LoRA-FA keeps the first matrices as they are; here both are trained.")
    reading.flat["network.method"] = method or "lora"


def _size(rest: Mapping[str, Any], reading: Reading) -> None:
    """An alpha of 0 or none means the rank to kohya; convolutions only where the GUI's type has them."""
    ours = reading.flat
    ours["network.rank"] = rank = ours.get("network.rank") or 4
    alpha = number(rest.get("network_alpha", 1))
    ours["network.alpha"] = alpha or rank
    kind = str(rest.get("LoRA_type", ""))
    if kind in ("Standard", "LoRA-FA", "Kohya DyLoRA"):
        reading.quiet += [
            Told(name, rest[name], "Not used in the file: this type has no convolutions.")
            for name in ("conv_dim", "conv_alpha")
            if name in rest
        ]
        return
    if number(rest.get("conv_dim")):
        ours["network.conv_rank"] = rest["conv_dim"]
        ours["network.conv_alpha"] = number(rest.get("conv_alpha")) or None


def _rates(rest: Mapping[str, Any], reading: Reading, from_gui: bool, is_sdxl: bool) -> None:
    """A rate of its own is empty (sd-scripts) or 0 (the GUI) where the run's rate holds."""
    ours, base = reading.flat, number(rest.get("learning_rate"))
    unet, text = number(rest.get("unet_lr")), rest.get("text_encoder_lr")
    first, second = _both(text)
    trains_unet, trains_text = True, True
    if from_gui:
        trains_unet, trains_text = bool(unet) or not first, bool(first) or not unet
        unet, first, second = unet or None, first or None, second or None
    trains_unet &= not rest.get("network_train_text_encoder_only", False)
    trains_text &= not rest.get("network_train_unet_only", False)
    ours |= {
        "targets.unet": trains_unet,
        "targets.text_encoder_1": trains_text,
        "targets.text_encoder_2": trains_text and (is_sdxl or isinstance(text, list)),
    }
    ours["targets.learning_rate"] = base if unet is None else unet
    ours["targets.text_encoder_1_rate"] = base if first is None else first
    ours["targets.text_encoder_2_rate"] = base if second is None else second
    if trains_text and not from_gui and not isinstance(text, list):
        reading.change("text_encoder_lr", text, "Switches the first text encoder on; for SDXL switch the second on, too.")
    stop = number(rest.get("stop_text_encoder_training")) or number(rest.get("stop_text_encoder_training_pct"))
    if stop:
        ours |= {"targets.text_encoder_stop_after": stop, "targets.text_encoder_stop_unit": "percent"}
        reading.change("stop_text_encoder_training", stop, "Percent of the run; kohya's GUI ignores it for LoRA, here it counts.")


def _both(text: Any) -> tuple[float | None, float | None]:
    """One rate for both text encoders, or one each."""
    if isinstance(text, (list, tuple)):
        rates = [number(rate) for rate in text]
        return (rates[0], rates[-1]) if rates else (None, None)
    return number(text), number(text)


def _blocks(rest: Mapping[str, Any], reading: Reading) -> None:
    """down / middle / up, as kohya writes them; what is left out is 1."""
    given = [rest.get(name) for name in ("down_lr_weight", "mid_lr_weight", "up_lr_weight")]
    if all(is_off(weight) for weight in given):
        return
    down, middle, up = ("" if is_off(weight) else str(weight).strip("[]") for weight in given)
    reading.flat["blocks.weights"] = f"{_filled(down)} / {middle or '1'} / {_filled(up)}"


def _filled(weights: str) -> str:
    """A half's weights as long as a UNet's: kohya fills a shorter list with 1, up to 9 (SDXL) or 12."""
    if not weights:
        return "zeros+1"
    pieces = weights.replace(",", " ").split()
    if not pieces or number(pieces[0]) is None or len(pieces) in (9, 12):  # a word such as cosine is of any length
        return weights
    return ", ".join([*pieces, *["1"] * ((9 if len(pieces) < 9 else 12) - len(pieces))])
