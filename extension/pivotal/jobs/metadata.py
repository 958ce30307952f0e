"""What a result says of itself: the recipe, and what hosts show on their cards."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence

from pivotal import __version__
from pivotal.config.derived import metadata
from pivotal.config.optimizers import described
from pivotal.config.resolution import resolutions_of
from pivotal.config.train import TrainConfig
from pivotal.data.buckets import summary
from pivotal.data.captions import Captions
from pivotal.jobs.dataset_plan import views_of
from pivotal.models.diffusion import DiffusionModel
from pivotal.models.schedule import ends_at_zero

ARCHITECTURE = {"sd1": "stable-diffusion-v1", "sd2": "stable-diffusion-v2-512", "sdxl": "stable-diffusion-xl-v1-base"}
CARD_VERSION = {"sd1": "SD1", "sd2": "SD2", "sdxl": "SDXL"}  # of a host's card
_KOHYA_VERSION = {"sd1": "sd_v1", "sd2": "sd_v2", "sdxl": "sdxl_base_v1-0"}
_KOHYA_MODULES = {"lora": "networks.lora", "dylora": "networks.dylora"}
MOST_TAGS = 1000  # in a file's header


def common_metadata(config: TrainConfig, model: DiffusionModel, checkpoint: str, step: int) -> dict[str, str]:
    """The recipe; no time and no path of this machine, so that the same run gives the same bytes.

    Args:
        checkpoint: the name of what was trained on, without its folder.
    """
    height, width = resolutions_of(config.dataset.resolution, model.resolution)[0]
    return metadata(config) | {
        "ss_optimizer": described(config.optimizer),
        "modelspec.sai_model_spec": "1.0.1", "modelspec.prediction_type": model.prediction,
        "modelspec.resolution": f"{width}x{height}",
        "ss_sd_model_name": checkpoint, "pivotal.checkpoint": checkpoint,
        "pivotal.version": __version__, "pivotal.step": str(step)}


def embedding_metadata(common: dict[str, str], model: DiffusionModel, placeholder: str) -> dict[str, str]:
    """Of an embedding's own file; the network's settings say nothing about it."""
    return common | {"modelspec.architecture": f"{ARCHITECTURE[model.family.name]}/textual-inversion",
                     "modelspec.title": placeholder, "modelspec.trigger_phrase": placeholder}


def network_metadata(common: dict[str, str], config: TrainConfig, model: DiffusionModel, captions: Captions,
                     words: Sequence[str], stem: str) -> dict[str, str]:
    """Of a network's file: what AUTOMATIC1111's cards read (network.py, ui_edit_user_metadata.py) and kohya's tools.

    Args:
        stem: of the file, by which a host finds it under `ss_output_name` as well.
    """
    version = _KOHYA_VERSION[model.family.name]
    height, width = resolutions_of(config.dataset.resolution, model.resolution)[0]
    return common | {
        "modelspec.architecture": f"{ARCHITECTURE[model.family.name]}/lora", "modelspec.title": stem,
        "modelspec.trigger_phrase": ", ".join(words),
        "ss_output_name": stem,
        "ss_base_model_version": "sd_v2_v" if version == "sd_v2" and model.prediction == "v" else version,
        "ss_v2": str(model.family.name == "sd2"),
        "ss_network_module": _KOHYA_MODULES.get(config.network.method, "lycoris.kohya"),
        "ss_network_args": _network_args(config),
        "ss_resolution": f"({width}, {height})",
        "ss_enable_bucket": str(config.buckets.kind != "off"),
        "ss_bucket_no_upscale": str(config.buckets.kind in ("no upscale", "exact sizes")),
        "ss_bucket_info": _bucket_info(captions, config, model),
        "ss_flip_aug": str(config.augment.flip > 0),
        "ss_color_aug": str(bool(config.augment.brightness or config.augment.contrast or config.augment.saturation
                                 or config.augment.hue)),
        "ss_cache_latents": str(config.cache.latents != "off"),
        "ss_num_train_images": str(_images_of(captions, "training")),
        "ss_num_reg_images": str(_images_of(captions, "regularization")),
        "ss_clip_skip": str(model.clip_skip),
        "ss_zero_terminal_snr": str(ends_at_zero(model.alphas_cumprod)),
        "ss_steps": common["pivotal.step"],
        "ss_tag_frequency": json.dumps({"dataset": _tag_counts(captions)}, ensure_ascii=False),
    }


def _bucket_info(captions: Captions, config: TrainConfig, model: DiffusionModel) -> str:
    """How many images each size has, width first, as hosts' cards list them."""
    found = summary(view.fit for view in views_of(captions, config, model.resolution))
    return json.dumps({"buckets": {str(index): {"resolution": bucket.size[::-1], "count": bucket.images}
                                   for index, bucket in enumerate(found)}})


def _network_args(config: TrainConfig) -> str:
    network = config.network
    given = {"algo": network.method if network.method != "lora" else None, "conv_dim": network.conv_rank,
             "conv_alpha": network.conv_alpha, "factor": network.factor, "dora_wd": network.dora or None,
             "rs_lora": network.rank_stabilized or None, "train_norm": network.train_norms or None,
             "rank_dropout": network.rank_dropout or None, "module_dropout": network.module_dropout or None,
             "loraplus_lr_ratio": network.plus_ratio if network.plus_ratio != 1 else None,
             "unit": network.unit if network.method == "dylora" else None}
    return json.dumps({key: str(value) for key, value in given.items() if value is not None})


def _images_of(captions: Captions, kind: str) -> int:
    return sum(captions.concepts[item.concept].kind == kind for item in captions.items)


def _tag_counts(captions: Captions) -> dict[str, int]:
    """How many captions have each tag; a caption without commas is one tag."""
    tags = Counter(tag for item in captions.items for tag in dict.fromkeys(
        piece.strip() for piece in (item.caption or "").split(",")) if tag)
    return dict(tags.most_common(MOST_TAGS))


def card(existing: dict[str, object], model: DiffusionModel, words: Sequence[str], config: TrainConfig) -> str:
    """A host's card for a network, as JSON: a click on it puts tag and words into the prompt.

    Args:
        existing: the card that is there; what a person wrote in it stays.
    """
    about = f"{config.network.method.upper()} of {config.length.steps} steps"
    if words:
        about += f"; its words: {', '.join(words)}"
    fresh = {"description": about, "preferred weight": 1.0, "negative text": "", "notes": ""}
    return json.dumps(fresh | existing | {"sd version": CARD_VERSION[model.family.name], "activation text": ", ".join(words)},
                      indent=4, ensure_ascii=False)
