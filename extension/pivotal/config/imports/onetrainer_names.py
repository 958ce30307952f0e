"""OneTrainer's settings, by their dotted names in its .json files; ``prefix.*`` stands for all that begin so."""

from __future__ import annotations

from typing import Any

from pivotal.config.imports.optimizers import ARGUMENTS
from pivotal.config.imports.rules import Rule, always, missing, nothing, parts, to

_FOLDERS = "Results, logs and states lie in your WebUI's own folders."
_LOADED = "Pivotal trains with what your WebUI has loaded; choose it there."
_OTHER_MODELS = "For model families that Pivotal does not train."
_ONE_DEVICE = "A run uses the one device of your WebUI."
_FP32 = "What is trained stays fp32 here."
_OFFLOAD = "The WebUI's own model is lent; nothing of it is moved."
_OWN_OPTIMIZER = "If the optimizer's class takes it, write it among its arguments (optimizer.arguments)."
_DTYPES = {"FLOAT_32": "fp32", "FLOAT_16": "fp16", "BFLOAT_16": "bf16"}

MODEL: dict[str, Rule] = {
    "training_method": parts("network.method", "embeddings.N.train"),
    "model_type": parts("checkpoint"),
    "base_model_name": parts("checkpoint"),
    "extra_model_name": missing(_LOADED), "vae.model_name": missing(_LOADED), "transformer.model_name": missing(_LOADED),
    "weight_dtype": nothing(_LOADED), "unet.weight_dtype": nothing(_LOADED), "text_encoder.weight_dtype": nothing(_LOADED),
    "text_encoder_2.weight_dtype": nothing(_LOADED), "unet_weight_dtype": nothing(_LOADED),
    "text_encoder_weight_dtype": nothing(_LOADED), "vae_weight_dtype": to("precision.vae", words={"FLOAT_32": "fp32"}, off=(
        "FLOAT_16", "BFLOAT_16", "NONE")),
    "vae.weight_dtype": to("precision.vae", words={"FLOAT_32": "fp32"}, off=("FLOAT_16", "BFLOAT_16", "NONE")),
    "output_dtype": to("save.precision", words=_DTYPES),
    "output_model_format": missing("Networks and embeddings are written as your WebUI reads them.",
                                   off=("SAFETENSORS", "KOHYA_LORA", "LEGACY_LORA", "COMFY_LORA")),
    "output_model_destination": parts("name"),
    "force_v_prediction": to("objective.prediction", words={True: "v"}, off=(False,)),
    "force_epsilon_prediction": to("objective.prediction", words={True: "epsilon"}, off=(False,)),
    "rescale_noise_scheduler_to_zero_terminal_snr": to("objective.zero_terminal_snr", words={True: "on"}, off=(False,)),
    "text_encoder_layer_skip": parts("objective.clip_skip", shape="number"),
    "text_encoder_2_layer_skip": missing("Clip skip is one for both text encoders."),
    "train_dtype": parts("precision.compute", "precision.tf32"),
    "fallback_train_dtype": always("precision.vae", text="Parts that half precision breaks are computed in fp32."),
    "enable_autocast_cache": nothing("Without effect on results."),
    "attention_mechanism": nothing("PyTorch's own attention is used, which is as fast and as sparing."),
    "gradient_checkpointing": parts("precision.gradient_checkpointing"),
    "unet.gradient_checkpointing": parts("precision.gradient_checkpointing"),
    "text_encoder.gradient_checkpointing": parts("precision.gradient_checkpointing"),
    "text_encoder_2.gradient_checkpointing": parts("precision.gradient_checkpointing"),
    "force_circular_padding": missing("Seamless tiling is not there."),
    "compile": missing("Compiled models are not trained."),
    "train_device": nothing(_ONE_DEVICE), "temp_device": nothing(_ONE_DEVICE), "multi_gpu": missing(_ONE_DEVICE),
    "device_indexes": nothing(_ONE_DEVICE), "gradient_reduce_precision": nothing(_ONE_DEVICE),
    "fused_gradient_reduce": nothing(_ONE_DEVICE), "async_gradient_reduce": nothing(_ONE_DEVICE),
    "async_gradient_reduce_buffer": nothing(_ONE_DEVICE), "async_offloading": nothing(_OFFLOAD),
    "huggingface_cache_dir": nothing(_LOADED), "offline_mode": nothing(_LOADED), "only_cache": missing("Latents are cached as a "
                                                                                                     "run begins."),
    "text_encoder_sequence_length": nothing(_OTHER_MODELS), "text_encoder_2_sequence_length": nothing(_OTHER_MODELS),
    "timestep_shift": to("timesteps.shift"), "dynamic_timestep_shifting": nothing(_OTHER_MODELS),
    "vae.*": nothing(_LOADED), "prior.*": nothing(_OTHER_MODELS), "transformer.*": nothing(_OTHER_MODELS),
    "unconditional_transformer.*": nothing(_OTHER_MODELS), "text_encoder_3.*": nothing(_OTHER_MODELS),
    "text_encoder_4.*": nothing(_OTHER_MODELS), "text_encoder_3_layer_skip": nothing(_OTHER_MODELS),
    "text_encoder_4_layer_skip": nothing(_OTHER_MODELS), "effnet_encoder.*": nothing(_OTHER_MODELS),
    "decoder.*": nothing(_OTHER_MODELS), "decoder_text_encoder.*": nothing(_OTHER_MODELS),
    "decoder_vqgan.*": nothing(_OTHER_MODELS), "frames": nothing(_OTHER_MODELS), "quantization.*": nothing(_LOADED),
    "unet.quantization.*": nothing(_LOADED), "cloud.enabled": missing("There is no training in a cloud."),
    "cloud.*": nothing("There is no training in a cloud."),
    "secrets.*": nothing("Keys are written to no file."), "secrets": nothing("Keys are written to no file."),
    "cloud": nothing("There is no training in a cloud."), "quantization": nothing(_LOADED),
    "debug_mode": nothing("The log says what happens."), "debug_dir": nothing(_FOLDERS),
    "workspace_dir": nothing(_FOLDERS), "cache_dir": nothing(_FOLDERS), "__version": nothing("The version of the file."),
}

PARTS: dict[str, Rule] = {
    "unet.train": parts("targets.unet"), "train_unet": parts("targets.unet"),
    "unet.include": nothing("The UNet is always there."), "text_encoder.include": nothing("Text encoders are always there."),
    "text_encoder_2.include": nothing("Text encoders are always there."),
    "unet.learning_rate": parts("targets.learning_rate"), "unet_learning_rate": parts("targets.learning_rate"),
    "unet.stop_training_after": parts("targets.stop_after", shape="number"),
    "unet.stop_training_after_unit": parts("targets.stop_unit"),
    "train_unet_epochs": missing("Give it as targets.stop_after.", off=(100000,)),
    "text_encoder.train": parts("targets.text_encoder_1"), "train_text_encoder": parts("targets.text_encoder_1"),
    "text_encoder.learning_rate": parts("targets.text_encoder_1_rate"),
    "text_encoder_learning_rate": parts("targets.text_encoder_1_rate"),
    "text_encoder.stop_training_after": parts("targets.text_encoder_stop_after", shape="number"),
    "text_encoder.stop_training_after_unit": parts("targets.text_encoder_stop_unit"),
    "train_text_encoder_epochs": parts("targets.text_encoder_stop_after", shape="number"),
    "text_encoder_2.train": parts("targets.text_encoder_2"),
    "text_encoder_2.learning_rate": parts("targets.text_encoder_2_rate"),
    "text_encoder_2.stop_training_after": parts("targets.text_encoder_stop_after", shape="number"),
    "text_encoder_2.stop_training_after_unit": parts("targets.text_encoder_stop_unit"),
    "text_encoder.dropout_probability": to("caption.dropout", off=(0,), text="OneTrainer empties one encoder's output; here "
                                           "the whole caption is left out."),
    "text_encoder_2.dropout_probability": missing("Captions are left out for both text encoders at once (caption.dropout)."),
    **{f"{part}.{name}": missing(_OFFLOAD) for part in ("unet", "text_encoder", "text_encoder_2")
       for name in ("offload_fraction", "activation_offloading")},
    **{f"{part}.{name}": nothing(_OTHER_MODELS) for part in ("unet", "text_encoder", "text_encoder_2")
       for name in ("attention_mask", "guidance_scale")},
    **{f"{part}.dropout_probability": nothing("The UNet has no captions.") for part in ("unet",)},
    **{f"{part}.model_name": nothing(_LOADED) for part in ("unet", "text_encoder", "text_encoder_2")},
    "text_encoder.train_embedding": parts("embeddings.N.train"), "text_encoder_2.train_embedding": parts("embeddings.N.train"),
    "unet.train_embedding": nothing("The UNet has no embeddings."),
    "embedding_learning_rate": parts("optimizer.learning_rate"),
    "embedding_weight_dtype": nothing(_FP32), "lora_weight_dtype": to(
        "precision.weights", words={"FLOAT_32": "fp32", "BFLOAT_16": "bf16"}, off=("NONE",)),
    "preserve_embedding_norm": parts("embeddings.N.preserve_norm"),
    "embedding": parts("embeddings.N.placeholder", shape="any"),
    "additional_embeddings": parts("embeddings.N.placeholder", shape="rows"),
    "token_count": nothing("Of the embedding, in old files."),
    "initial_embedding_text": nothing("Of the embedding, in old files."),
    "bundle_additional_embeddings": to("save.bundle"),
    "peft_type": parts("network.method"), "lora_model_name": to("network.base_file"),
    "lora_rank": parts("network.rank"), "lora_alpha": to("network.alpha"), "lora_decompose": to("network.dora"),
    "lora_decompose_norm_epsilon": nothing("Division by zero is always guarded against."),
    "lora_decompose_output_axis": nothing("The length is taken as the paper does."),
    "dropout_probability": to("network.dropout"), "layer_filter": parts("targets.filter"),
    "layer_filter_preset": parts("targets.layers"), "layer_filter_regex": parts("targets.filter"),
    "oft_block_size": parts("network.rank"), "oft_block_share": missing("Each block of OFT turns by itself."),
    "oft_scaled": missing("OFT's scaling is not there."), "oft_coft": missing("Give the limit as network.constraint."),
    "coft_eps": nothing("Belongs to constrained OFT."),
    "lokr_dim": parts("network.rank"), "lokr_decompose_factor": to("network.factor", off=(-1,)),
    "lokr_decompose_both": missing("LoKr's larger matrix alone is decomposed."),
    "lokr_use_tucker": missing("Convolutions are not decomposed by Tucker's method."),
    "lokr_weight_decompose": parts("network.dora"), "lokr_dora_on_output": nothing("The length is taken as the paper does."),
    "lokr_full_matrix": missing("Take a rank as large as the matrices."), "lokr_vec_trick": nothing("Without effect on results."),
}

LOOP: dict[str, Rule] = {
    "epochs": to("length.epochs"), "batch_size": to("batch.size"), "gradient_accumulation_steps": to("batch.accumulation"),
    "learning_rate": parts("optimizer.learning_rate", "targets.learning_rate"),
    "learning_rate_scheduler": parts("schedule.kind"),
    "custom_learning_rate_scheduler": missing("Classes of Python code are not run; draw the course with schedule.points."),
    "scheduler_params": nothing("Belongs to a schedule given as a class."),
    "learning_rate_warmup_steps": parts("schedule.warmup", shape="number"), "learning_rate_cycles": to("schedule.cycles"),
    "learning_rate_min_factor": to("schedule.minimum"),
    "learning_rate_scaler": missing("Rates are taken as they are: multiply yours by the root of the batch or the accumulation.",
                                    off=("NONE",)),
    "loss_scaler": missing("A loss is taken as it is; under Adam its size makes no difference.", off=("NONE",)),
    "ema": parts("optimizer.ema_decay", "performance.averages_on_cpu"), "ema_decay": parts("optimizer.ema_decay", shape="number"),
    "ema_update_step_interval": parts("optimizer.ema_decay", shape="number"),
    "clip_grad_norm": to("optimizer.clip_norm"), "optimizer": parts("optimizer.kind"),
        "optimizer.optimizer": parts("optimizer.kind"),
    "optimizer.__version": nothing("The version of the file."),
    "optimizer_defaults": nothing("Values of optimizers that were not chosen."),
    "optimizer_defaults.*": nothing("Values of optimizers that were not chosen."), "weight_decay": to("optimizer.weight_decay"),
    "dataloader_threads": nothing("Images are read in the background by one thread, in every run."),
    "continue_last_backup": missing("Press Resume: a run goes on by its name."),
    "prevent_overwrites": to("save.existing", words={True: "refuse", False: "keep_copy"}),
    "include_train_config": always("save.existing", text="Every file says how it was trained, without names of your folders."),
    "concept_file_name": missing("Import this file, too, or the exported settings, which have the concepts in them.",
                                 off=("training_concepts/concepts.json",)),
    "sample_definition_file_name": nothing("The exported settings have the samples in them."),
}

LOSS: dict[str, Rule] = {
    "mse_strength": parts("loss.kind", "loss.mix", shape="number"),
    "mae_strength": parts("loss.kind", "loss.mix", shape="number"),
    "log_cosh_strength": parts("loss.kind", "loss.mix", shape="number"),
    "huber_strength": parts("loss.kind", "loss.mix", shape="number"),
    "huber_delta": parts("loss.huber_c", shape="number"),
    "vb_loss_strength": nothing("For models that learn their variance; none of these do."),
    "loss_weight_fn": to("loss.weighting", words={"CONSTANT": "none", "MIN_SNR_GAMMA": "min-snr",
                                                  "DEBIASED_ESTIMATION": "debiased", "P2": "p2"}),
    "loss_weight_strength": to("loss.gamma"),
    "offset_noise_weight": to("noise.offset"), "generalized_offset_noise": to("noise.offset_by_timestep"),
    "perturbation_noise_weight": to("noise.perturbation"),
    "min_noising_strength": to("timesteps.minimum", by=lambda share: round(float(share) * 1000)),
    "max_noising_strength": to("timesteps.maximum", by=lambda share: round(float(share) * 1000)),
    "timestep_distribution": parts("timesteps.distribution"),
    "noising_weight": parts("timesteps.strength", "timesteps.spread", shape="number"),
    "noising_bias": parts("timesteps.bias", shape="number"),
    "masked_training": to("mask.source", words={True: "files"}, off=(False,)),
    "unmasked_probability": to("mask.unmasked_probability", text="OneTrainer uses it with inpainting models alone; here it holds "
                               "for all."),
    "unmasked_weight": to("mask.unmasked_weight"), "normalize_masked_area_loss": to("mask.normalize"),
    "masked_prior_preservation_weight": to("mask.prior_weight"),
    "custom_conditioning_image": missing("Inpainting models get the part under the mask, not an image of their own."),
}

DATA: dict[str, Rule] = {
    "resolution": to("dataset.resolution", by=str),
    "aspect_ratio_bucketing": to("buckets.kind", words={True: "onetrainer", False: "off"}),
    "latent_caching": to("cache.latents", words={True: "disk", False: "off"}),
    "latent_caching_epochs": nothing("Give the number of versions in the concept."),
    "clear_cache_before_training": nothing("Latents are cached by content, so that an edit is always noticed."),
    "circular_mask_generation": to("mask.round_parts"),
    "random_rotate_and_crop": to("mask.crop", off=(False,), text="With a fifth more; turned at random by augment.rotation."),
    "concepts": parts("dataset.folder", "concepts.N.folder", shape="rows"), "samples": parts("samples.prompts", shape="rows"),
    "sample_after": parts("samples.every_steps", "samples.every_epochs", shape="number"),
    "sample_after_unit": parts("samples.every_steps"),
    "sample_skip_first": missing("Samples begin with the run."), "sample_image_format": nothing("Samples are PNG files."),
    "sample_video_format": nothing(_OTHER_MODELS), "sample_audio_format": nothing(_OTHER_MODELS),
    "samples_to_tensorboard": nothing("With TensorBoard on, samples are in it."),
    "non_ema_sampling": parts("samples.weights"),
    "tensorboard": to("logs.tensorboard"), "tensorboard_expose": nothing("Pivotal starts no TensorBoard."),
    "tensorboard_always_on": nothing("Pivotal starts no TensorBoard."),
        "tensorboard_port": nothing("Pivotal starts no TensorBoard."),
    "validation": parts("measure.every_steps"), "validate_after": parts("measure.every_steps", shape="number"),
    "validate_after_unit": parts("measure.every_steps"),
    "backup_after": parts("save.state_every_steps", shape="number"), "backup_after_unit": parts("save.state_every_steps"),
    "rolling_backup": nothing("Only the newest state is kept."),
        "rolling_backup_count": nothing("Only the newest state is kept."),
    "backup_before_save": nothing("A state is written with the result."),
    "save_every": parts("save.every_steps", shape="number"), "save_every_unit": parts("save.every_steps"),
    "save_after": parts("save.every_steps", shape="number"), "save_after_unit": parts("save.every_steps"),
    "save_skip_first": missing("Copies begin with the run."), "save_filename_prefix": missing("Files have the run's name."),
}

# Arguments of optimizers that no option of ours is, each with the value by which it is not used.
_REST_OF_OPTIMIZERS: dict[str, Any] = dict.fromkeys((
    "adam_w_mode", "amsgrad", "bias_correction", "block_wise", "capturable", "centered", "differentiable", "foreach",
        "fsdp_in_use",
    "fused", "fused_back_pass", "is_paged", "maximize", "no_prox", "use_triton", "decoupled_decay", "fixed_decay", "rectify",
    "degenerated_to_sgd", "ams_bound", "adanorm", "adam_debias", "cautious", "use_speed", "use_cautious", "use_grams",
        "use_adopt",
    "use_orthograd", "nnmf_factor", "orthogonal_gradient", "use_atan2", "use_AdEMAMix", "Simplified_AdEMAMix", "kourkoutas_beta",
    "MuonWithAuxAdam", "muon_adam_regex", "normuon_variant", "low_rank_ortho", "accelerated_ns", "cautious_wd", "approx_mars",
    "auto_kappa_p", "compile"), False) | dict.fromkeys((
        "stochastic_rounding", "weight_decay_by_lr", "split_groups", "split_groups_mean", "factored", "factored_fp32",
        "use_stableadamw", "d_limiter", "use_schedulefree", "rms_rescaling", "decouple"), True) | dict.fromkeys((
            "alpha", "dampening", "eps2", "initial_accumulator_value", "initial_accumulator", "log_every", "lr_decay",
                "max_unorm",
            "min_8bit_size", "quant_block_size", "optim_bits", "percentile_clipping", "r", "weight_lr_power", "k", "xi",
            "n_sma_threshold", "slice_p", "prodigy_steps", "beta3_ema", "alpha_grad", "beta1_warmup", "min_beta1",
            "schedulefree_c", "ns_steps", "muon_hidden_layers", "muon_adam_lr", "muon_te1_adam_lr", "muon_te2_adam_lr",
            "muon_adam_config", "beta2_normuon", "ortho_rank"))
# How OneTrainer has them set for the optimizers that know them, without which nothing would be lost here.
_USUAL = {"fused": (False, True), "eps2": (0.001,), "min_8bit_size": (4096,), "quant_block_size": (2048,), "slice_p": (11,),
          "stochastic_rounding": (False, True), "decouple": (False, True), "bias_correction": (False, True), "dampening": (0,),
          "fused_back_pass": (False, True), "k": (0,), "initial_accumulator_value": (0,), "percentile_clipping": (100,),
          "log_every": (0,), "optim_bits": (32,)}
OPTIMIZER: dict[str, Rule] = {
    **{f"optimizer.{name}": parts(f"optimizer.{ours}") for name, ours in ARGUMENTS.items()},
    **{f"optimizer.{name}": missing(_OWN_OPTIMIZER, off=_USUAL.get(name, (off,)))
       for name, off in _REST_OF_OPTIMIZERS.items()},
}

CONCEPT: dict[str, Rule] = {
    "name": parts("concepts.N.name"), "path": parts("dataset.folder", "concepts.N.folder"),
        "enabled": parts("concepts.N.enabled"),
    "type": parts("concepts.N.kind", "dataset.regularization"),
    "include_subdirectories": parts("dataset.subfolders", "concepts.N.subfolders"),
    "balancing": parts("dataset.repeats", "concepts.N.repeats", shape="number"),
    "balancing_strategy": parts("concepts.N.images_per_epoch"), "loss_weight": parts("dataset.loss_weight",
        "concepts.N.loss_weight"),
    "seed": nothing("The run's seed counts."), "image_variations": parts("augment.versions", shape="number"),
    "text_variations": nothing("Captions are not cached in versions; each time is its own."),
    "concept_stats": nothing("A count of files."), "concept_stats.*": nothing("A count of files."),
    "image.enable_crop_jitter": to("augment.random_crop"),
    "image.enable_random_flip": to("augment.flip", words={True: 0.5}, off=(False,)),
    "image.enable_fixed_flip": to("augment.flip", words={True: 1.0}, off=(False,)),
    "image.enable_random_rotate": parts("augment.rotation"), "image.random_rotate_max_angle": parts("augment.rotation"),
    "image.enable_fixed_rotate": missing("Images are turned at random (augment.rotation)."),
    **{f"image.enable_random_{name}": parts(f"augment.{name}") for name in ("brightness", "contrast", "saturation", "hue")},
    **{f"image.random_{name}_max_strength": parts(f"augment.{name}") for name in ("brightness", "contrast", "saturation", "hue")},
    **{f"image.enable_fixed_{name}": missing(f"The {name} is changed at random (augment.{name}).")
       for name in ("brightness", "contrast", "saturation", "hue")},
    "image.enable_resolution_override": parts("concepts.N.resolution", "dataset.resolution"),
    "image.resolution_override": parts("concepts.N.resolution", "dataset.resolution"),
    "image.enable_random_circular_mask_shrink": to("mask.round_parts"),
    "image.enable_random_mask_rotate_crop": to("mask.crop", off=(False,), text="With a fifth more; turned at random by "
                                               "augment.rotation."),
    "text.prompt_source": parts("dataset.captions", "concepts.N.captions", "caption.lines"),
    "text.prompt_path": parts("dataset.caption_list", "concepts.N.caption_list"),
    "text.enable_tag_shuffling": to("caption.shuffle"), "text.tag_delimiter": to("caption.delimiter"),
    "text.keep_tags_count": to("caption.keep_tags"), "text.tag_dropout_enable": parts("caption.tag_dropout"),
    "text.tag_dropout_mode": parts("caption.tag_dropout_kind"), "text.tag_dropout_probability": parts("caption.tag_dropout"),
    "text.tag_dropout_special_tags_mode": parts("caption.tags_to_drop", "caption.tags_to_keep"),
    "text.tag_dropout_special_tags": parts("caption.tags_to_drop", "caption.tags_to_keep"),
    "text.tag_dropout_special_tags_regex": parts("caption.tag_patterns"),
    **{f"text.caps_randomize_{name}": nothing("These models' text encoders read capitals as small letters; it changes nothing.")
       for name in ("enable", "mode", "probability", "lowercase")},
}

EMBEDDING_ROW: dict[str, Rule] = {
    "uuid": nothing("A mark of OneTrainer's own."), "model_name": to("base_embedding"), "placeholder": to("placeholder"),
    "train": to("train"), "stop_training_after": parts("stop_after", shape="number"),
    "stop_training_after_unit": parts("stop_unit"),
    "token_count": to("token_count"), "initial_embedding_text": to("initial_text"),
    "is_output_embedding": missing("Vectors are trained where the text goes in; a WebUI reads no others."),
}

SAMPLE: dict[str, Rule] = {
    **{name: parts("samples.prompts") for name in ("enabled", "prompt", "negative_prompt", "height", "width", "seed",
                                                   "diffusion_steps", "cfg_scale", "noise_scheduler")},
    "random_seed": missing("Samples are drawn from the same seed each time, so that they can be compared."),
    **{name: nothing(_OTHER_MODELS) for name in ("frames", "length", "text_encoder_1_sequence_length",
        "transformer_attention_mask",
                                                 "text_encoder_2_sequence_length", "text_encoder_3_layer_skip",
                                                 "text_encoder_4_layer_skip")},
    **{name: missing("Samples use the run's clip skip.") for name in ("text_encoder_1_layer_skip", "text_encoder_2_layer_skip")},
    "force_last_timestep": missing("Samples begin as your WebUI's do."),
    "sample_inpainting": missing("Samples are drawn from words alone."),
    "base_image_path": nothing("Samples are drawn from words alone."),
        "mask_image_path": nothing("Samples are drawn from words alone."),
}

ONETRAINER: dict[str, Rule] = {**MODEL, **PARTS, **LOOP, **LOSS, **DATA, **OPTIMIZER}
