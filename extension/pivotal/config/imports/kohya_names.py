"""kohya's settings: sd-scripts' arguments (TOML) and the names in the GUI's files (JSON)."""

from __future__ import annotations

from typing import Any

from pivotal.config.imports.rules import Rule, always, missing, nothing, number, parts, to

_LOADED = "Pivotal trains with what your WebUI has loaded; choose it there."
_UPLOAD = "Pivotal sends no results anywhere; upload the file yourself."
_ONE_DEVICE = "A run uses the one device of your WebUI."
_LAUNCHER = "Belongs to kohya's launcher."
_OTHER_MODELS = "For model families that Pivotal does not train."
_READER = "Images are read in the background by one thread, in every run."
_FP32 = "What is trained stays fp32 here; it costs little and loses no small updates."


def _positive(value: Any) -> Any:
    """Empty in place of 0, which is how kohya says "off" of many numbers."""
    return None if number(value) == 0 else value


def _size(value: Any) -> str:
    """``512,512``, ``[640, 512]`` or 512 as a resolution of ours, width x height."""
    sides = value if isinstance(value, (list, tuple)) else str(value).replace("x", ",").split(",")
    sides = [str(side).strip() for side in sides]
    return sides[0] if len(set(sides)) == 1 else "x".join(sides)


MODEL: dict[str, Rule] = {
    "pretrained_model_name_or_path": parts("checkpoint"),
    "model_list": nothing("A list of the GUI's; the path beside it counts."),
    "v2": always("checkpoint", text="The family is read from the checkpoint."),
    "sdxl": always("checkpoint", text="The family is read from the checkpoint."),
    "sdxl_checkbox": always("checkpoint", text="The family is read from the checkpoint."),
    "v_parameterization": to("objective.prediction", words={True: "v", False: "auto"}),
    "zero_terminal_snr": to("objective.zero_terminal_snr", words={True: "on", False: "auto"}),
    "clip_skip": to("objective.clip_skip", by=_positive),
    "vae": missing(_LOADED),
    "no_half_vae": to("precision.vae", words={True: "fp32", False: "auto"}),
    "sdxl_no_half_vae": to("precision.vae", words={True: "fp32", False: "auto"}),
    "tokenizer_cache_dir": nothing("The host's own tokenizer is used."),
    "disable_mmap_load_safetensors": nothing(_LOADED),
    "base_weights": missing("Training on top of merged networks is not there; merge them into a checkpoint and load it."),
    "base_weights_multiplier": missing("Training on top of merged networks is not there."),
    "fp8_base": missing("fp8 weights are not trained on; load the checkpoint in fp16 or bf16."),
    "fp8_base_unet": missing("fp8 weights are not trained on; load the checkpoint in fp16 or bf16."),
    "flux1_checkbox": missing(_OTHER_MODELS), "sd3_checkbox": missing(_OTHER_MODELS),
    "blocks_to_swap": missing(_OTHER_MODELS),
    **{name: nothing(_OTHER_MODELS) for name in (
        "ae", "apply_t5_attn_mask", "clip_g", "clip_l", "discrete_flow_shift", "double_blocks_to_swap",
        "flux1_cache_text_encoder_outputs", "flux1_cache_text_encoder_outputs_to_disk", "flux1_clip_l", "flux1_t5xxl",
        "flux_fused_backward_pass", "guidance_scale", "mem_eff_save", "model_prediction_type", "save_clip", "save_t5xxl",
        "sd3_cache_text_encoder_outputs", "sd3_cache_text_encoder_outputs_to_disk", "sd3_fused_backward_pass",
        "sd3_text_encoder_batch_size", "single_blocks_to_swap", "split_mode", "t5xxl", "t5xxl_device", "t5xxl_dtype",
        "t5xxl_max_token_length", "timestep_sampling", "train_blocks")},
}

DATA: dict[str, Rule] = {
    "train_data_dir": parts("dataset.folder", "dataset.repeats_in_names"),
    "image_folder": parts("dataset.folder"),
    **{name: nothing("Belongs to the metadata that fine-tuning makes; images are read as they lie.") for name in (
        "train_dir", "full_path", "create_buckets", "create_caption", "use_latent_files", "generate_caption_database",
        "generate_image_buckets", "caption_metadata_filename", "latent_metadata_filename", "batch_size")},
    "reg_data_dir": parts("concepts.N.folder", "concepts.N.kind", "concepts.N.repeats_in_names"),
    "in_json": missing("Write the images and captions of the metadata file as a .jsonl file, and give that as the dataset."),
    "dataset_config": missing("Import the dataset's .toml file, too."),
    "dataset_repeats": to("dataset.repeats", off=(1,)),
    "dataset_class": missing("Classes of Python code are not run."),
    "conditioning_data_dir": missing("Masks lie beside the images here, as cat-masklabel.png for cat.png."),
    "masked_loss": to("mask.source", words={True: "files"}, off=(False,), text="Masks lie beside the images here, as "
                      "cat-masklabel.png for cat.png."),
    "alpha_mask": to("mask.source", words={True: "alpha"}, off=(False,)),
    "prior_loss_weight": to("dataset.prior_weight"),
    "resolution": to("dataset.resolution", by=_size),
    "max_resolution": to("dataset.resolution", by=_size),
    "enable_bucket": parts("buckets.kind"),
    "bucket_no_upscale": parts("buckets.kind"),
    "min_bucket_reso": to("buckets.minimum", by=_positive),
    "max_bucket_reso": to("buckets.maximum", by=_positive),
    "bucket_reso_steps": to("buckets.step"),
    "resize_interpolation": nothing("Images are always scaled by Lanczos' method, which blurs least."),
    "cache_latents": parts("cache.latents", "cache.sampling"),
    "cache_latents_to_disk": parts("cache.latents"),
    "skip_cache_check": nothing("Latents are cached by content, so that an edit is always noticed."),
    "cache_info": nothing("Scanning is fast enough without."),
    "vae_batch_size": to("cache.batch", off=(0,)),
    "flip_aug": to("augment.flip", words={True: 0.5}, off=(False,)),
    "color_aug": parts("augment.hue", "augment.brightness"),
    "random_crop": to("augment.random_crop"),
    "face_crop_aug_range": to("augment.faces", by=bool, text="Cut around the largest face; its size varies by Zoom here "
                              "(augment.zoom)."),
    "debug_dataset": missing("Press the plan button, or run install.py train --plan, to see the dataset."),
    "max_data_loader_n_workers": nothing(_READER),
    "persistent_data_loader_workers": nothing(_READER),
}

CAPTIONS: dict[str, Rule] = {
    "caption_extension": parts("dataset.caption_extension"),
    "caption_extention": parts("dataset.caption_extension"),
    "caption_prefix": to("caption.prefix"),
    "caption_suffix": to("caption.suffix"),
    "caption_separator": to("caption.delimiter"),
    "secondary_separator": missing("A second separator is not there; write the tags with one."),
    "shuffle_caption": to("caption.shuffle"),
    "keep_tokens": to("caption.keep_tags"),
    "keep_tokens_separator": to("caption.keep_separator"),
    "caption_dropout_rate": to("caption.dropout"),
    "caption_dropout_every_n_epochs": to("caption.dropout_every_epochs"),
    "caption_tag_dropout_rate": to("caption.tag_dropout"),
    "token_warmup_min": missing("Tags are not added step by step.", off=(1,)),
    "token_warmup_step": missing("Tags are not added step by step."),
    "enable_wildcard": Rule(("caption.wildcards", "caption.lines"), lambda value: {
        "caption.wildcards": value, "caption.lines": "one of them" if value else "joined"}),
    "weighted_captions": to("caption.weighted"),
    "max_token_length": to("caption.max_tokens", by=str),
    "no_token_padding": to("caption.padding", words={True: False, False: True}),
    "use_object_template": to("dataset.captions", words={True: "object"}, off=(False,)),
    "use_style_template": to("dataset.captions", words={True: "style"}, off=(False,)),
    "template": to("dataset.captions", words={"caption": "files", "object template": "object", "style template": "style"}),
}

EMBEDDING: dict[str, Rule] = {
    "token_string": to("embeddings.0.placeholder"),
    "init_word": to("embeddings.0.initial_text"),
    "num_vectors_per_token": to("embeddings.0.token_count"),
    "weights": to("embeddings.0.base_embedding"),
}

NETWORK: dict[str, Rule] = {
    "network_module": parts("network.method"),
    "LoRA_type": parts("network.method"),
    "LyCORIS_preset": parts("targets.layers"),
    "network_dim": to("network.rank"),
    "network_alpha": parts("network.alpha", shape="number"),
    "conv_dim": parts("network.conv_rank", shape="number"),
    "conv_alpha": parts("network.conv_alpha", shape="number"),
    "network_args": parts("network.conv_rank", shape="texts"),
    "network_weights": to("network.base_file"),
    "lora_network_weights": to("network.base_file"),
    "dim_from_weights": to("network.rank_from_file"),
    "network_dropout": to("network.dropout", by=lambda value: value or 0),
    "rank_dropout": to("network.rank_dropout"),
    "module_dropout": to("network.module_dropout"),
    "rank_dropout_scale": missing("What is dropped is always made up for by scaling what stays."),
    "scale_weight_norms": to("network.norm_limit", by=_positive),
    "loraplus_lr_ratio": to("network.plus_ratio", off=(0,)),
    "loraplus_unet_lr_ratio": to("network.plus_ratio", off=(0,)),
    "loraplus_text_encoder_lr_ratio": missing("One ratio holds for all parts: network.plus_ratio."),
    "network_train_unet_only": parts("targets.text_encoder_1", "targets.text_encoder_2"),
    "network_train_text_encoder_only": parts("targets.unet"),
    "factor": to("network.factor", by=lambda value: None if number(value) == -1 else value),
    "unit": to("network.unit"),
    "constrain": to("network.constraint"),
    "dora_wd": to("network.dora"),
    "rs_lora": to("network.rank_stabilized"),
    "train_norm": to("network.train_norms"),
    "decompose_both": missing("LoKr's larger matrix alone is decomposed."),
    "use_cp": missing("Convolutions are not decomposed by Tucker's method; a network without it learns the same."),
    "use_tucker": missing("Convolutions are not decomposed by Tucker's method; a network without it learns the same."),
    "use_scalar": missing("A learned scalar beside alpha is not there."),
    "rescaled": missing("OFT's rescaling is not there."),
    "bypass_mode": nothing("Says how it is computed, not what; a change of nothing here."),
    "train_on_input": nothing("IA3 is always trained on the inputs of the feed-forward's second layer."),
    "down_lr_weight": parts("blocks.weights", shape="several"),
    "mid_lr_weight": parts("blocks.weights"),
    "up_lr_weight": parts("blocks.weights", shape="several"),
    "block_lr_zero_threshold": to("blocks.zero_threshold"),
    "block_dims": to("blocks.ranks"),
    "block_alphas": to("blocks.alphas"),
    "conv_block_dims": to("blocks.conv_ranks"),
    "conv_block_alphas": to("blocks.conv_alphas"),
    "conv_dims": to("blocks.conv_ranks"),
    "conv_alphas": to("blocks.conv_alphas"),
}

RATES: dict[str, Rule] = {
    "learning_rate": parts("optimizer.learning_rate", "targets.learning_rate"),
    "unet_lr": parts("targets.learning_rate", shape="number"),
    "text_encoder_lr": parts("targets.text_encoder_1_rate", "targets.text_encoder_2_rate", shape="several"),
    "optimizer_type": parts("optimizer.kind"),
    "optimizer": parts("optimizer.kind"),
    "use_8bit_adam": parts("optimizer.kind"),
    "use_lion_optimizer": parts("optimizer.kind"),
    "optimizer_args": parts("optimizer.arguments", shape="texts"),
    "max_grad_norm": to("optimizer.clip_norm", by=_positive),
    "lr_scheduler": parts("schedule.kind"),
    "lr_scheduler_type": missing("Classes of Python code are not run; draw the course with schedule.points."),
    "lr_scheduler_args": missing("Belongs to a schedule given as a class."),
    "lr_scheduler_num_cycles": to("schedule.cycles", off=(0,)),
    "lr_scheduler_power": to("schedule.power", off=(0,)),
    "lr_scheduler_timescale": missing("The course of inverse sqrt follows the warm-up."),
    "lr_scheduler_min_lr_ratio": to("schedule.minimum"),
    "lr_decay_steps": missing("The course always lasts until the run's end; draw another with schedule.points."),
    "lr_warmup_steps": parts("schedule.warmup", shape="number"),
    "lr_warmup": parts("schedule.warmup", shape="number"),
    **{name: parts("targets.text_encoder_stop_after", "targets.text_encoder_stop_unit", shape="number")
       for name in ("stop_text_encoder_training", "stop_text_encoder_training_pct")},
    **{name: nothing("Saves memory for whole models; networks and embeddings are small.") for name in (
        "fused_backward_pass", "fused_optimizer_groups", "blockwise_fused_optimizers")},
    **{name: missing("Belongs to training of whole models; a network has rates of its own (targets).") for name in (
        "learning_rate_te", "learning_rate_te1", "learning_rate_te2", "block_lr")},
    "train_text_encoder": nothing("Belongs to training of whole models; see targets.text_encoder_1."),
}

LENGTH: dict[str, Rule] = {
    "max_train_steps": parts("length.steps", shape="number"),
    "max_train_epochs": parts("length.epochs", shape="number"),
    "epoch": parts("length.epochs", shape="number"),
    "train_batch_size": to("batch.size"),
    "gradient_accumulation_steps": to("batch.accumulation"),
    "seed": to("seed", off=(0,)),
    "initial_epoch": missing("A run goes on by Resume, from the exact step."),
    "initial_step": missing("A run goes on by Resume, from the exact step."),
    "skip_until_initial_step": missing("A run goes on by Resume, from the exact step."),
}

LOSS: dict[str, Rule] = {
    "loss_type": to("loss.kind", words={"l2": "mse", "l1": "l1", "huber": "huber", "smooth_l1": "smooth l1"}),
    "huber_c": to("loss.huber_c"),
    "huber_schedule": to("loss.huber_schedule"),
    "huber_scale": missing("Scale the weights by timestep instead (loss.by_timestep).", off=(1,)),
    "min_snr_gamma": parts("loss.weighting", "loss.gamma", shape="number"),
    "debiased_estimation_loss": parts("loss.weighting"),
    "scale_v_pred_loss_like_noise_pred": to("loss.scale_v"),
    "v_pred_like_loss": to("loss.v_like"),
    "noise_offset_type": parts("noise.offset", "noise.multires_iterations"),
    "noise_offset": parts("noise.offset"),
    "noise_offset_random_strength": to("noise.offset_random"),
    "adaptive_noise_scale": parts("noise.adaptive_scale"),
    "multires_noise_iterations": parts("noise.multires_iterations", shape="number"),
    "multires_noise_discount": parts("noise.multires_discount"),
    "ip_noise_gamma": to("noise.input_perturbation"),
    "ip_noise_gamma_random_strength": missing("The input's noise has one strength."),
    "min_timestep": to("timesteps.minimum"),
    "max_timestep": to("timesteps.maximum", off=(0,)),
    "weighting_scheme": missing(_OTHER_MODELS, off=("uniform", "none")), "logit_mean": nothing(_OTHER_MODELS),
    "logit_std": nothing(_OTHER_MODELS), "mode_scale": nothing(_OTHER_MODELS),
}

MACHINE: dict[str, Rule] = {
    "mixed_precision": to("precision.compute", words={"no": "fp32", "fp16": "fp16", "bf16": "bf16"}),
    "full_fp16": missing(_FP32), "full_bf16": to(
        "precision.weights", words={True: "bf16"}, off=(False, 0), text="Of a network, rounded by chance; embeddings stay fp32."),
    "gradient_checkpointing": to("precision.gradient_checkpointing"),
    "cpu_offload_checkpointing": missing("What is recomputed is not kept in the CPU's memory."),
    "cache_text_encoder_outputs": to("cache.text", words={True: "auto"}, off=(False,)),
    "sdxl_cache_text_encoder_outputs": to("cache.text", words={True: "auto"}, off=(False,)),
    "cache_text_encoder_outputs_to_disk": to("cache.text", words={True: "disk"}, off=(False,)),
    "text_encoder_batch_size": nothing("Captions are encoded as the batches need them."),
    "xformers": nothing("PyTorch's own attention is used, which is as fast and as sparing."),
    "sdpa": nothing("PyTorch's own attention is always used."),
    "mem_eff_attn": nothing("PyTorch's own attention is used, which is as fast and as sparing."),
    "torch_compile": missing("Compiled models are not trained.", off=(False,)), "dynamo_backend": nothing("Not compiled."),
    "dynamo_mode": nothing("Not compiled."), "dynamo_use_dynamic": nothing("Not compiled."),
    "dynamo_use_fullgraph": nothing("Not compiled."),
    "lowram": nothing(_LOADED), "lowvram": nothing(_LOADED), "highvram": nothing(_LOADED),
    "num_cpu_threads_per_process": nothing(_LAUNCHER), "num_processes": nothing(_LAUNCHER), "num_machines": nothing(_LAUNCHER),
    "multi_gpu": missing(_ONE_DEVICE), "gpu_ids": nothing(_ONE_DEVICE), "main_process_port": nothing(_LAUNCHER),
    "extra_accelerate_launch_args": nothing(_LAUNCHER),
    "ddp_timeout": nothing(_ONE_DEVICE), "ddp_gradient_as_bucket_view": nothing(_ONE_DEVICE),
    "ddp_static_graph": nothing(_ONE_DEVICE), "config_file": nothing(_LAUNCHER), "output_config": nothing(_LAUNCHER),
    "additional_parameters": missing("Give each of them as an option of its own."),
    "support_dreambooth": nothing(_LAUNCHER), "support_finetuning": nothing(_LAUNCHER),
    "support_controlnet": nothing(_LAUNCHER), "support_dropout": nothing(_LAUNCHER),
}

OUTPUT: dict[str, Rule] = {
    "output_name": parts("name"),
    "output_dir": nothing("Results go into your WebUI's own folders."),
    "save_model_as": missing("Results are always .safetensors files.", off=("safetensors",)),
    "use_safetensors": nothing("Results are always .safetensors files."),
    "save_precision": to("save.precision", words={"float": "fp32", "fp16": "fp16", "bf16": "bf16"}),
    "save_every_n_steps": to("save.every_steps"),
    "save_every_n_epochs": to("save.every_epochs", by=_positive),
    "save_n_epoch_ratio": missing("Give the epochs between copies (save.every_epochs)."),
    "save_last_n_steps": parts("save.keep_copies", shape="number"),
    "save_last_n_epochs": parts("save.keep_copies", shape="number"),
    "save_last_n_steps_state": nothing("Only the newest state is kept."),
    "save_last_n_epochs_state": nothing("Only the newest state is kept."),
    "save_state": always("save.state_every_steps", text="A state is written in every run."),
    "save_state_on_train_end": always("save.state_every_steps", text="A state is written in every run."),
    "resume": missing("A run goes on by its name: give it the old name and press Resume."),
    "no_metadata": nothing("Files say how they were trained, without names of your folders."),
    "training_comment": missing("There is no comment of your own in the file."),
    **{f"metadata_{name}": missing("There is no text of your own in the file.") for name in ("title", "author", "description",
                                                                                       "license", "tags")},
    "save_as_bool": nothing("A switch of the GUI's."),
    "huggingface_repo_id": missing(_UPLOAD), "huggingface_repo_type": nothing(_UPLOAD),
    "huggingface_path_in_repo": nothing(_UPLOAD), "huggingface_token": nothing(_UPLOAD),
    "huggingface_repo_visibility": nothing(_UPLOAD), "save_state_to_huggingface": missing(_UPLOAD),
    "resume_from_huggingface": missing(_UPLOAD), "async_upload": nothing(_UPLOAD),
    "sample_every_n_steps": parts("samples.every_steps", shape="number"),
    "sample_every_n_epochs": parts("samples.every_epochs", shape="number"),
    "sample_at_first": always("samples.every_steps", text="Samples are drawn before the first step, too."),
    "sample_prompts": parts("samples.prompts"),
    "sample_sampler": parts("samples.sampler"),
    "validation_split": to("measure.share", off=(0,)),
    "validation_seed": nothing("Noise and timesteps of measurements stay the same."),
    "validate_every_n_steps": to("measure.every_steps"),
    "validate_every_n_epochs": missing("Measurements are counted in steps (measure.every_steps)."),
    "max_validation_steps": missing("Say how many images are measured (measure.images)."),
    "logging_dir": nothing("Logs lie in the run's own folder."),
    "log_with": parts("logs.tensorboard", "logs.wandb"),
    "use_wandb": parts("logs.wandb"),
    "log_prefix": nothing("Logs lie in the run's own folder."),
    "log_tracker_name": parts("logs.wandb"),
    "wandb_run_name": nothing("The run's name is used."),
    "log_tracker_config": nothing("There is none."),
    "wandb_api_key": nothing("The key comes from your login and is written to no file."),
    "log_config": nothing("The whole configuration is in the run's folder."),
}

# What is written in a dataset's .toml only; the rest of it has the names above.
SUBSET: dict[str, Rule] = {
    "image_dir": parts("dataset.folder", "concepts.N.folder"),
    "metadata_file": missing("Write its images and captions as a .jsonl file, and give that as the dataset."),
    "num_repeats": parts("dataset.repeats", "concepts.N.repeats"),
    "class_tokens": parts("concepts.N.text"),
    "is_reg": parts("concepts.N.kind"),
    "batch_size": to("batch.size"),
    "custom_attributes": missing("Attributes of datasets are not there."),
}

KOHYA: dict[str, Rule] = {**MODEL, **DATA, **CAPTIONS, **EMBEDDING, **NETWORK, **RATES, **LENGTH, **LOSS, **MACHINE, **OUTPUT}
