"""Invoke Training's settings, by their dotted names in its .yaml files."""

from __future__ import annotations

from pivotal.config.imports.rules import Rule, missing, nothing, parts, to

_LOADED = "Pivotal trains with what your WebUI has loaded; choose it there."
_READER = "Images are read in the background by one thread, in every run."
_PREDICTIONS = {"epsilon": "epsilon", "v_prediction": "v"}

INVOKE: dict[str, Rule] = {
    "type": parts("network.method"),
    "model": parts("checkpoint"), "hf_variant": nothing(_LOADED), "vae_model": missing(_LOADED),
    "seed": to("seed"),
    "base_output_dir": nothing("Results go into your WebUI's own folders."),
    "report_to": to("logs.tensorboard", words={"tensorboard": True, "all": True}),
    "max_train_steps": to("length.steps"), "max_train_epochs": to("length.epochs"),
    "save_every_n_steps": to("save.every_steps"), "save_every_n_epochs": to("save.every_epochs"),
    "validate_every_n_steps": to("samples.every_steps"), "validate_every_n_epochs": parts("samples.every_epochs", shape="number"),
    "max_checkpoints": to("save.keep_copies"),
    "lora_checkpoint_format": missing("Networks are written in kohya's names; install.py tool convert-keys makes the others.",
                                      off=("kohya",)),
    "base_embeddings": parts("embeddings.N.base_embedding", shape="any"),
    "placeholder_token": to("embeddings.0.placeholder"), "num_vectors": parts("embeddings.N.token_count"),
    "initializer_token": parts("embeddings.N.initial_text"), "initial_phrase": parts("embeddings.N.initial_text"),
    "initial_embedding_file": to("embeddings.0.base_embedding"),
    "train_unet": to("targets.unet"), "train_text_encoder": parts("targets.text_encoder_1", "targets.text_encoder_2"),
    "train_ti": parts("embeddings.N.train"), "ti_train_steps_ratio": parts("embeddings.N.stop_after", shape="number"),
    "optimizer.optimizer_type": parts("optimizer.kind"), "optimizer.use_8bit": parts("optimizer.kind"),
    "optimizer.learning_rate": parts("optimizer.learning_rate", "targets.learning_rate"),
    "optimizer.beta1": parts("optimizer.beta_1"), "optimizer.beta2": parts("optimizer.beta_2"),
    "optimizer.weight_decay": parts("optimizer.weight_decay"), "optimizer.epsilon": parts("optimizer.epsilon"),
    "optimizer.use_bias_correction": parts("optimizer.bias_correction"),
    "optimizer.safeguard_warmup": parts("optimizer.safeguard_warmup"),
    "unet_learning_rate": parts("targets.learning_rate"),
    "text_encoder_learning_rate": parts("targets.text_encoder_1_rate", "targets.text_encoder_2_rate"),
    "textual_inversion_learning_rate": parts("optimizer.learning_rate"),
    "lr_scheduler": to("schedule.kind", words={
        "linear": "linear", "cosine": "cosine", "cosine_with_restarts": "cosine with restarts", "polynomial": "polynomial",
        "constant": "constant", "constant_with_warmup": "constant"}),
    "lr_warmup_steps": parts("schedule.warmup"),
    "min_snr_gamma": parts("loss.weighting", "loss.gamma", shape="number"),
    "lora_rank_dim": parts("network.rank", "network.alpha"),
    "unet_lora_target_modules": parts("targets.layers", shape="several"),
    "text_encoder_lora_target_modules": missing("Text encoders get a network on all their layers."),
    "cache_text_encoder_outputs": to("cache.text", words={True: "auto"}, off=(False,)),
    "cache_vae_outputs": to("cache.latents", words={True: "disk", False: "off"}),
    "enable_cpu_offload_during_validation": missing("The WebUI's own model is lent; nothing of it is moved."),
    "gradient_accumulation_steps": to("batch.accumulation"), "gradient_checkpointing": to("precision.gradient_checkpointing"),
    "weight_dtype": parts("precision.compute"), "mixed_precision": parts("precision.compute"),
    "xformers": nothing("PyTorch's own attention is used, which is as fast and as sparing."),
    "prediction_type": to("objective.prediction", words=_PREDICTIONS), "max_grad_norm": to("optimizer.clip_norm"),
    "validation_prompts": parts("samples.prompts", shape="texts"),
    "negative_validation_prompts": parts("samples.negative", shape="texts"),
    "num_validation_images_per_prompt": to("samples.count"),
    "train_batch_size": to("batch.size"), "use_masks": to("mask.source", words={True: "files"}, off=(False,)),
}

DATA: dict[str, Rule] = {
    "data_loader.type": parts("dataset.captions"),
    "data_loader.dataset.type": parts("dataset.folder"),
    "data_loader.dataset.dataset_dir": parts("dataset.folder"), "data_loader.dataset.jsonl_path": parts("dataset.folder"),
    "data_loader.dataset.dataset_name": parts("dataset.folder"),
    "data_loader.dataset.dataset_config_name": missing("A dataset of Hugging Face is taken in its usual configuration."),
    "data_loader.dataset.hf_cache_dir": nothing("Datasets are kept in Pivotal's own folder."),
    "data_loader.dataset.image_column": to("dataset.image_column"),
    "data_loader.dataset.caption_column": to("dataset.text_column"), "data_loader.dataset.mask_column": to("dataset.mask_column"),
    "data_loader.dataset.keep_in_memory": nothing("Latents are kept (cache.latents), and not the images."),
    "data_loader.instance_dataset.*": parts("dataset.folder"), "data_loader.class_dataset.*": parts("concepts.N.folder"),
    "data_loader.instance_caption": missing("Write it as a template of your own, or into caption files."),
    "data_loader.class_caption": parts("concepts.N.text"), "data_loader.class_data_loss_weight": to("dataset.prior_weight"),
    "data_loader.aspect_ratio_buckets": parts("buckets.kind", shape="any"),
    "data_loader.aspect_ratio_buckets.target_resolution": parts("dataset.resolution"),
    "data_loader.aspect_ratio_buckets.start_dim": to("buckets.minimum"),
    "data_loader.aspect_ratio_buckets.end_dim": to("buckets.maximum"),
    "data_loader.aspect_ratio_buckets.divisible_by": to("buckets.step"),
    "data_loader.resolution": parts("dataset.resolution", shape="several"),
    "data_loader.center_crop": to("augment.random_crop", words={True: False, False: True}),
    "data_loader.random_flip": to("augment.flip", words={True: 0.5}, off=(False,)),
    "data_loader.caption_prefix": to("caption.prefix"),
    "data_loader.caption_preset": to("dataset.captions", words={"object": "object", "style": "style"}),
    "data_loader.caption_templates": parts("dataset.templates", shape="texts"),
    "data_loader.keep_original_captions": to("dataset.template_place", words={True: "before", False: "instead"}),
    "data_loader.shuffle_caption_delimiter": parts("caption.shuffle", "caption.delimiter"),
    "data_loader.dataloader_num_workers": nothing(_READER),
}

INVOKE = {**INVOKE, **DATA}
