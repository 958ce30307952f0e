"""Another value for every option, and whether what is learned depends on it: what test_exactness.py tries.

An option's value may need others: then it is (value, what both runs have beside it).
"""

from __future__ import annotations

from typing import Any

TAGS = {"caption.tag_dropout": 0.5}
STEP_8 = {"buckets.step": 8}
OFFSET = {"noise.offset": 0.1}
EMA = {"optimizer.ema_decay": 0.5}
MASK = {"mask.source": "files"}
HUBER = {"loss.kind": "huber"}
V = {"objective.prediction": "v"}
VERSIONS = {"augment.versions": 2}
STOP = {"targets.stop_after": 2, "targets.stop_unit": "steps"}
STOP_TEXT = {"targets.text_encoder_stop_after": 2, "targets.text_encoder_stop_unit": "steps"}
FREE = {"optimizer.learning_rate": 1.0, "targets.learning_rate": 1.0, "targets.text_encoder_1_rate": 1.0}
PRODIGY = {"optimizer.kind": "prodigy", "optimizer.first_estimate": 1e-5, **FREE}
ADAFACTOR = {"optimizer.kind": "adafactor"}


def _with(key: str, value: Any) -> dict[str, Any]:
    return {key: value}


# What is learned, or the numbers in the file, depend on these.
SEEDED: dict[str, Any] = {
    "seed": 2,
    "dataset.resolution": "96", "dataset.repeats": 2, "dataset.captions": "object", "dataset.caption_extension": ".caption",
    "dataset.templates": (["a [name] on [filewords]"], {"dataset.captions": "own", "dataset.templates": ["a [name]"]}),
    "dataset.caption_list": ("{lists}/b.txt", {"dataset.captions": "list", "dataset.caption_list": "{lists}/a.txt"}),
    "dataset.template_place": ("before", _with("dataset.captions", "object")),
    "dataset.subfolders": True,
    "caption.lines": "one of them", "caption.prefix": "photo of", "caption.suffix": "in a room", "caption.wildcards": True,
    "caption.delimiter": (";", _with("caption.shuffle", True)), "caption.keep_tags": (1, _with("caption.shuffle", True)),
    "caption.keep_separator": ("|||", _with("caption.shuffle", True)), "caption.tag_dropout": 0.5,
    "caption.tag_dropout_kind": ("all at once", TAGS), "caption.tags_to_drop": (["tag*"], TAGS),
    "caption.tags_to_keep": (["tag*"], _with("caption.tag_dropout", 0.9)),
    "caption.tag_patterns": ("regular expressions", TAGS | {"caption.tags_to_drop": [".*tag .*"]}),
    "caption.shuffle": True, "caption.dropout": 0.5, "caption.dropout_every_epochs": 2, "caption.trigger_word": "thing",
    "caption.weighted": True, "caption.max_tokens": "75", "caption.padding": False,
    "buckets.kind": ("off", STEP_8), "buckets.step": 8, "buckets.minimum": (64, STEP_8), "buckets.maximum": (64, STEP_8),
    "buckets.incomplete": ("fill", {"buckets.step": 32, "length.steps": 6}),
    "augment.flip": 0.5, "augment.random_crop": (True, VERSIONS), "augment.zoom": (0.5, VERSIONS),
    "augment.rotation": (30.0, VERSIONS),
    "augment.brightness": (0.3, VERSIONS), "augment.contrast": (0.3, VERSIONS), "augment.saturation": (0.3, VERSIONS),
    "augment.hue": (0.2, VERSIONS), "augment.versions": (3, VERSIONS | {"augment.brightness": 0.3, "length.steps": 8}),
    "cache.sampling": "mean",
    "network.method": "loha", "network.rank": 4, "network.alpha": 1.0, "network.rank_stabilized": True, "network.conv_rank": 2,
    "network.conv_alpha": (1.0, _with("network.conv_rank", 2)), "network.dora": True, "network.train_norms": True,
    "network.factor": (2, _with("network.method", "lokr")), "network.unit": (2, {"network.method": "dylora", "network.rank": 4}),
    "network.constraint": (1e-6, {"network.method": "oft", "network.rank": 4}), "network.dropout": 0.3,
    "network.rank_dropout": 0.5, "network.module_dropout": 0.5, "network.norm_limit": 1e-4, "network.plus_ratio": 4.0,
    "targets.unet": False, "targets.learning_rate": 1e-4, "targets.stop_after": (3, STOP), "targets.stop_unit": ("epochs", STOP),
    "targets.text_encoder_1": False, "targets.text_encoder_1_rate": 1e-5, "targets.text_encoder_stop_after": (3, STOP_TEXT),
    "targets.text_encoder_stop_unit": ("epochs", STOP_TEXT), "targets.schedule": "linear",
    "targets.rates": ("0.0005", {"targets.schedule": "rate list", "targets.rates": "0.001"}), "targets.layers": "attention",
    "targets.filter": "attn2", "blocks.weights": "cosine", "blocks.zero_threshold": (0.5, _with("blocks.weights", "cosine")),
    "pivot.order": "embeddings first", "pivot.at": (0.75, _with("pivot.order", "embeddings first")),
    "length.steps": 3, "length.epochs": 1.0, "length.images": 4, "batch.size": 3, "batch.accumulation": 2,
    "optimizer.kind": "adagrad", "optimizer.name": ("Adamax", {"optimizer.kind": "other", "optimizer.name": "SGD"}),
    "optimizer.learning_rate": 0.01, "optimizer.beta_1": 0.8, "optimizer.beta_2": 0.9,
    "optimizer.beta_3": (0.9, _with("optimizer.kind", "adan")), "optimizer.epsilon": 1e-3, "optimizer.weight_decay": 0.5,
    "optimizer.decay_embeddings": (True, _with("optimizer.weight_decay", 0.5)),
    "optimizer.nesterov": (False, {"optimizer.kind": "sgd", "optimizer.beta_1": 0.9}),
    "optimizer.first_estimate": (1e-3, PRODIGY), "optimizer.estimate_factor": (2.0, PRODIGY),
    "optimizer.growth_limit": (1.001, PRODIGY | {"optimizer.first_estimate": 1e-6, "length.steps": 8}),
    "optimizer.bias_correction": (True, PRODIGY),
    "optimizer.safeguard_warmup": (True, PRODIGY | {"schedule.warmup": 3}),
    "optimizer.relative_step": (True, ADAFACTOR), "optimizer.warmup_init": (True, ADAFACTOR | {"optimizer.relative_step": True}),
    "optimizer.scale_parameter": (True, ADAFACTOR), "optimizer.clip_threshold": (0.1, ADAFACTOR),
    "optimizer.decay_rate": (-0.5, ADAFACTOR), "optimizer.arguments": ["amsgrad = True"], "optimizer.ema_decay": 0.5,
    "optimizer.ema_half_life": 3.0, "optimizer.clip_norm": 1e-9,
    "schedule.kind": "linear", "schedule.warmup": 3, "schedule.minimum": (0.5, _with("schedule.kind", "cosine")),
    "schedule.cycles": (2.0, _with("schedule.kind", "cosine with restarts")),
    "schedule.power": (2.0, _with("schedule.kind", "polynomial")),
    "schedule.rates": ("0.01", {"schedule.kind": "rate list", "schedule.rates": "0.02"}),
    "schedule.points": ("0:1, 100%:0", {"schedule.kind": "points", "schedule.points": "0:0.5, 50%:1, 100%:0"}),
    "schedule.formula": ("1 - p", {"schedule.kind": "formula", "schedule.formula": "0.5 * (1 + cos(pi * p))"}),
    "objective.prediction": "v", "objective.zero_terminal_snr": ("on", V), "objective.clip_skip": 2,
    "mask.source": "files", "mask.unmasked_probability": (0.9, MASK), "mask.unmasked_weight": (0.5, MASK),
    "mask.normalize": (True, MASK), "mask.prior_weight": (0.2, MASK), "mask.crop": (True, MASK), "mask.round_parts": (True, MASK),
    "loss.kind": "l1", "loss.mix": "mse 0.5, l1 0.5", "loss.huber_c": (0.5, HUBER), "loss.huber_schedule": ("constant", HUBER),
    "loss.weighting": "debiased", "loss.gamma": (1.0, _with("loss.weighting", "min-snr")),
    "loss.by_timestep": "0:1, 500:0.5, 1000:1", "loss.v_like": 0.5, "loss.scale_v": (True, V),
    "noise.offset": 0.1, "noise.offset_random": (True, OFFSET), "noise.offset_by_timestep": (True, OFFSET),
    "noise.adaptive_scale": 0.5, "noise.multires_iterations": 2,
    "noise.multires_discount": (0.8, _with("noise.multires_iterations", 2)),
    "noise.perturbation": 0.1, "noise.input_perturbation": 0.1,
    "timesteps.minimum": 200, "timesteps.maximum": 700, "timesteps.distribution": "sigmoid",
    "timesteps.bias": (1.0, _with("timesteps.distribution", "sigmoid")),
    "timesteps.spread": (2.0, _with("timesteps.distribution", "logit normal")),
    "timesteps.strength": (2.0, _with("timesteps.distribution", "sigmoid")),
    "timesteps.alpha": (3.0, _with("timesteps.distribution", "beta")),
    "timesteps.beta": (3.0, _with("timesteps.distribution", "beta")), "timesteps.shift": 2.0,
    "precision.compute": "bf16", "precision.weights": "bf16",
    "measure.share": (0.4, _with("measure.images", 2)), "save.ema": ("last", EMA), "save.precision": "fp32",
    "embeddings.0.token_count": 3, "embeddings.0.initial_text": "blue", "embeddings.0.preserve_norm": True,
}  # fmt: skip

# On these only how it is computed, shown or kept; all that can stand together are tried together, beside what they need.
# Without a cache, the images of a batch are encoded together: the same up to the order of floats, and so not among them.
SHOWN: tuple[tuple[dict[str, Any], dict[str, Any]], ...] = (
    ({"samples.every_steps": 2, "samples.prompts": ["zkteal", "a cat"], "samples.steps": 1, "samples.negative": "blue",
      "samples.sampler": "DDIM", "samples.cfg_scale": 3.0, "samples.count": 2, "samples.weights": "both", "samples.seed": 3,
      "samples.size": 128, "save.every_steps": 2, "save.every_epochs": 1.0, "save.keep_copies": 1, "save.state_every_steps": 1,
      "save.cards": False, "save.existing": "replace", "measure.images": 2, "measure.every_steps": 2, "guard.bad_step": "stop",
      "cache.latents": "disk", "cache.keep_days": 1, "cache.keep_gb": 1.0, "logs.csv": False, "logs.tensorboard": True,
      "sharing.let_prompts_through": True, "precision.tf32": "off", "precision.vae": "fp32"}, {}),
    ({"samples.every_epochs": 1.0, "samples.prompts": ["zkteal"], "samples.steps": 1, "save.every_minutes": 1.0,
      "save.state_every_minutes": 1.0, "guard.in_a_row": 2, "guard.in_all": 3, "precision.gradient_checkpointing": True}, {}),
    ({"performance.averages_on_cpu": True, "cache.when": "as needed", "save.best": True, "measure.images": 2,
      "measure.every_steps": 2}, EMA),
)

# And these are not tried here.
ELSEWHERE: dict[str, str] = {
    "name": "the files' names", "checkpoint": "what is trained on", "dataset.folder": "what is trained on",
    "dataset.repeats_in_names": "needs numbered folders and no other: test_folder.py",
    "dataset.loss_weight": "counts beside concepts: test_datasets.py",
    "dataset.regularization": "needs regularization images: test_masks_and_priors.py",
    "dataset.prior_weight": "needs regularization images: test_masks_and_priors.py",
    "dataset.image_column": "where lists have it: test_sources.py", "dataset.text_column": "where lists have it: test_sources.py",
    "dataset.mask_column": "where lists have it: test_sources.py",
    "augment.faces": "needs OpenCV: test_faces.py", "network.base_file": "needs a file: test_network_input.py",
    "network.rank_from_file": "needs a file: test_network_input.py",
    "targets.text_encoder_2": "SDXL: test_network_run.py", "targets.text_encoder_2_rate": "SDXL: test_network_run.py",
    "blocks.ranks": "as many values as the model has blocks: test_choose.py",
    "blocks.alphas": "as many values as the model has blocks: test_choose.py",
    "blocks.conv_ranks": "as many values as the model has blocks: test_choose.py",
    "blocks.conv_alphas": "as many values as the model has blocks: test_choose.py",
    "length.minutes": "a clock", "cache.batch": "another order of floats", "cache.text": "another order of floats",
    "performance.attention": "another order of floats", "save.bundle": "in which file: test_network_run.py",
    "samples.through": "needs a host that draws", "samples.host_sampler": "needs a host that draws",
    "measure.folder": "other images to measure on: test_measured_runs.py",
    "measure.patience": "ends the run: test_measured_runs.py",
    "measure.restore_best": "another step's values: test_measured_runs.py",
    "logs.wandb": "needs an account: test_logs.py",
}
