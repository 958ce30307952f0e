"""Every setting that the five source documents name, by its label there, and where it went.

A setting of a trainer's file is written as that trainer's own name of it, and found in the import's rules
(extension/pivotal/config/imports/): said once, for the import and for the table. What is no setting of a file is said here.
"""

from __future__ import annotations

from typing import NamedTuple


class Of(NamedTuple):
    """A setting of a trainer's file."""

    trainer: str  # "kohya", "onetrainer", "concept", "invoke", "a1111"
    name: str


class Ours(NamedTuple):
    """Options of ours, where the document's setting is in no file of its trainer."""

    keys: tuple[str, ...]
    remark: str = ""


class Not(NamedTuple):
    """No option: a command, a page, or a thing that is always so."""

    reason: str


def ours(*keys: str, remark: str = "") -> Ours:
    return Ours(keys, remark)


def kohya(name: str) -> Of:
    return Of("kohya", name)


def onetrainer(name: str) -> Of:
    return Of("onetrainer", name)


def invoke(name: str) -> Of:
    return Of("invoke", name)


S0 = {
    "Add an embedding (the list)": ours("embeddings", remark="Add embedding, below the rows."),
    "Red X (delete)": Not("The button Delete of each row."),
    "Green plus (duplicate)": Not("The button Duplicate of each row."),
    "Base embedding": ours("embeddings.N.base_embedding"),
    "Placeholder": ours("embeddings.N.placeholder"),
    "Token count": ours("embeddings.N.token_count"),
    "Train": ours("embeddings.N.train"),
    "Stop training after": ours("embeddings.N.stop_after"),
    "Stop training after: unit": ours("embeddings.N.stop_unit"),
    "Initial embedding text": ours("embeddings.N.initial_text"),
    "Bundle embeddings": onetrainer("bundle_additional_embeddings"),
    "Subfolder of embeddings beside a LoRA": ours("save.bundle", remark="Off: a folder beside the file."),
    "Subfolder of embeddings, each copy on the way": ours("save.every_steps", remark="Each copy has its own."),
    "Token counting": Not("The counter beside every text, and Count tokens on the page Tools."),
    "Preserve Embedding Norm": ours("embeddings.N.preserve_norm"),
    "Embeddings learning rate": onetrainer("embedding_learning_rate"),
    "Embeddings learning rate, each its own": ours("embeddings.N.learning_rate"),
    "Prodigy": onetrainer("optimizer.optimizer"),
    "Prodigy: growth rate limit": onetrainer("optimizer.growth_rate"),
    "Weight data type": onetrainer("lora_weight_dtype"),
    "Train data type (compute)": onetrainer("train_dtype"),
    "Training method": onetrainer("training_method"),
    "Many embeddings at once": ours("embeddings"),
    "Embeddings alone": ours("network.method", remark="none"),
    "Pivotal tuning": ours("pivot.order", "pivot.at", remark="A network and an embedding in one run."),
}

S1 = {name: kohya(name) for name in (
    "num_cpu_threads_per_process", "enable_bucket", "min_bucket_reso", "max_bucket_reso", "bucket_reso_steps",
    "bucket_no_upscale",
    "vae", "train_data_dir", "save_model_as", "output_dir", "output_name", "lr_scheduler", "lr_scheduler_num_cycles",
    "max_data_loader_n_workers", "gradient_accumulation_steps", "no_half_vae", "learning_rate", "train_batch_size",
    "max_train_steps", "mixed_precision", "save_precision", "seed", "cache_latents", "optimizer_type", "save_every_n_steps",
    "xformers", "noise_offset", "token_string", "init_word", "num_vectors_per_token", "use_object_template")} | {
    "pretrained_model": kohya("pretrained_model_name_or_path"),
    "Folder 100_sks woman (repeats)": ours("dataset.repeats_in_names"),
    "Folder 100_sks woman (class words)": ours("dataset.repeats_in_names", "caption.trigger_word"),
    "Loop over many names": Not("The queue: a recipe over the folders of a folder, by page, command or API."),
    "Intermediate versions kept": ours("save.every_steps", "save.keep_copies"),
    "Intermediate versions compared": ours("samples.every_steps", "save.best",
                                           remark="The samples are of one seed; the page Compare draws every save."),
    "Prompt weight, weak LoRA and embedding": Not("Of the prompt: the host draws it."),
}  # fmt: skip

S2 = {
    "Train Text Encoder": onetrainer("text_encoder.train"),
    "Text Encoder Learning Rate": onetrainer("text_encoder.learning_rate"),
    "Text Encoder: stop training after": onetrainer("text_encoder.stop_training_after"),
    "Text Encoder: stop training after, unit": onetrainer("text_encoder.stop_training_after_unit"),
    "Train Text Encoder 2": onetrainer("text_encoder_2.train"),
    "Text Encoder 2 Learning Rate": onetrainer("text_encoder_2.learning_rate"),
    "Text Encoder 2: stop training after": onetrainer("text_encoder_2.stop_training_after"),
    "Train UNet": onetrainer("unet.train"),
    "UNet Learning Rate": onetrainer("unet.learning_rate"),
    "UNet: stop training after": onetrainer("unet.stop_training_after"),
    "UNet: stop training after, unit": onetrainer("unet.stop_training_after_unit"),
    "Masked Training": onetrainer("masked_training"),
    "-masklabel.png": ours("mask.source"),
    "Unmasked Probability": onetrainer("unmasked_probability"),
    "Unmasked Weight": onetrainer("unmasked_weight"),
    "Normalize Masked Area Loss": onetrainer("normalize_masked_area_loss"),
    "Resolution": onetrainer("resolution"),
    "Gradient checkpointing": onetrainer("unet.gradient_checkpointing"),
    "Optimizer": onetrainer("optimizer.optimizer"),
    "Optimizer: its own settings (...)": ours("optimizer.beta_1", "optimizer.beta_2", "optimizer.epsilon",
    "optimizer.weight_decay",
                                              "optimizer.arguments"),
    "Learning Rate": onetrainer("learning_rate"),
    "Learning Rate Scheduler": onetrainer("learning_rate_scheduler"),
    "Learning Rate Scheduler: custom": ours("schedule.points", "schedule.formula"),
    "Learning Rate Warmup Steps": onetrainer("learning_rate_warmup_steps"),
    "Learning Rate Min Factor": onetrainer("learning_rate_min_factor"),
    "Learning Rate Cycles": onetrainer("learning_rate_cycles"),
    "Train Data Type": onetrainer("train_dtype"),
    "Epochs": onetrainer("epochs"),
    "Batch Size": onetrainer("batch_size"),
    "Accumulation Steps": onetrainer("gradient_accumulation_steps"),
    "EMA": onetrainer("ema"),
    "EMA Decay": onetrainer("ema_decay"),
    "EMA Update Step Interval": onetrainer("ema_update_step_interval"),
    "Tooltips": Not("Each field says what it does."),
    "Footer: epoch and step": Not("The progress beside the form."),
}

S3 = {
    "LoRA type": kohya("LoRA_type"),
    "LoRA network weights": kohya("lora_network_weights"),
    "DIM from weights": kohya("dim_from_weights"),
    "Train batch size": kohya("train_batch_size"),
    "Epoch": kohya("epoch"),
    "Max train epoch": kohya("max_train_epochs"),
    "Max train steps": kohya("max_train_steps"),
    "Save every N epochs": kohya("save_every_n_epochs"),
    "Save every N steps": kohya("save_every_n_steps"),
    "Save last N steps": kohya("save_last_n_steps"),
    "Save last N steps state": kohya("save_last_n_steps_state"),
    "Caption extension": kohya("caption_extension"),
    "Mixed precision": kohya("mixed_precision"),
    "Save precision": kohya("save_precision"),
    "Number of CPU threads per core": kohya("num_cpu_threads_per_process"),
    "Seed": kohya("seed"),
    "Cache latents": kohya("cache_latents"),
    "Cache latents to disk": kohya("cache_latents_to_disk"),
    "Learning rate": kohya("learning_rate"),
    "Text encoder learning rate": kohya("text_encoder_lr"),
    "UNet learning rate": kohya("unet_lr"),
    "LR scheduler": kohya("lr_scheduler"),
    "LR warmup": kohya("lr_warmup"),
    "LR number of cycles": kohya("lr_scheduler_num_cycles"),
    "LR power": kohya("lr_scheduler_power"),
    "Optimizer": kohya("optimizer"),
    "Optimizer extra arguments": kohya("optimizer_args"),
    "Network rank": kohya("network_dim"),
    "Network alpha": kohya("network_alpha"),
    "Convolution rank": kohya("conv_dim"),
    "Convolution alpha": kohya("conv_alpha"),
    "Max resolution": kohya("max_resolution"),
    "Stop text encoder training": kohya("stop_text_encoder_training"),
    "Enable buckets": kohya("enable_bucket"),
    "Minimum bucket resolution": kohya("min_bucket_reso"),
    "Maximum bucket resolution": kohya("max_bucket_reso"),
    "Don't upscale bucket resolution": kohya("bucket_no_upscale"),
    "Bucket resolution steps": kohya("bucket_reso_steps"),
    "Down LR weights": kohya("down_lr_weight"),
    "Mid LR weights": kohya("mid_lr_weight"),
    "Up LR weights": kohya("up_lr_weight"),
    "Blocks LR zero threshold": kohya("block_lr_zero_threshold"),
    "Block dims": kohya("block_dims"),
    "Block alphas": kohya("block_alphas"),
    "Conv dims": kohya("conv_block_dims"),
    "Conv alphas": kohya("conv_block_alphas"),
    "No token padding": kohya("no_token_padding"),
    "Gradient accumulate steps": kohya("gradient_accumulation_steps"),
    "Weighted captions": kohya("weighted_captions"),
    "Prior loss weight": kohya("prior_loss_weight"),
    "Regularisation folder": kohya("reg_data_dir"),
    "Additional parameters": kohya("additional_parameters"),
    "Keep n tokens": kohya("keep_tokens"),
    "Shuffle caption": kohya("shuffle_caption"),
    "Clip skip": kohya("clip_skip"),
    "Max token length": kohya("max_token_length"),
    "Full fp16 training": kohya("full_fp16"),
    "Full bf16 training": kohya("full_bf16"),
    "Gradient checkpointing": kohya("gradient_checkpointing"),
    "Persistent data loader": kohya("persistent_data_loader_workers"),
    "Max num workers for DataLoader": kohya("max_data_loader_n_workers"),
    "Memory efficient attention": kohya("mem_eff_attn"),
    "Use xformers": kohya("xformers"),
    "Color augmentation": kohya("color_aug"),
    "Flip augmentation": kohya("flip_aug"),
    "Random crop instead of center crop": kohya("random_crop"),
    "Min SNR gamma": kohya("min_snr_gamma"),
    "Noise offset type": kohya("noise_offset_type"),
    "Noise offset": kohya("noise_offset"),
    "Adaptive noise scale": kohya("adaptive_noise_scale"),
    "Multires noise iterations": kohya("multires_noise_iterations"),
    "Multires noise discount": kohya("multires_noise_discount"),
    "Dropout caption every n epochs": kohya("caption_dropout_every_n_epochs"),
    "Rate of caption dropout": kohya("caption_dropout_rate"),
    "VAE batch size": kohya("vae_batch_size"),
    "Save training state": kohya("save_state"),
    "Resume from saved training state": kohya("resume"),
    "WANDB API key": kohya("wandb_api_key"),
    "WANDB logging": kohya("use_wandb"),
    "Sample every n steps": kohya("sample_every_n_steps"),
    "Sample every n epochs": kohya("sample_every_n_epochs"),
    "Sample sampler": kohya("sample_sampler"),
    "Sample prompts": kohya("sample_prompts"),
    "Sample prompts: --n --w --h --d --l --s": ours("samples.prompts", remark="Also as a table below the field."),
    "Network dropout": kohya("network_dropout"),
    "Rank dropout": kohya("rank_dropout"),
    "Module dropout": kohya("module_dropout"),
    "Scale weight norms": kohya("scale_weight_norms"),
}

S4 = {
    "SD LoRA, SD textual inversion, SDXL textual inversion, SDXL LoRA and TI (tabs)": invoke("type"),
    "Data (tab)": Not("The page Dataset: captions, masks, checks."),
    "Reference config path": Not("The section Run file, or install.py train RUN.yaml."),
    "Reload": Not("Run file: Fill the form from it."),
    "Generate config": Not("Run file: Write it from the form."),
    "Start": Not("The button Train."),
    "Model": invoke("model"),
    "Variant": invoke("hf_variant"),
    "VAE model": invoke("vae_model"),
    "Base output directory": invoke("base_output_dir"),
    "Max train steps": invoke("max_train_steps"),
    "Max train epochs": invoke("max_train_epochs"),
    "Save every n steps": invoke("save_every_n_steps"),
    "Save every n epochs": invoke("save_every_n_epochs"),
    "Validate every n steps": invoke("validate_every_n_steps"),
    "Validate every n epochs": invoke("validate_every_n_epochs"),
    "Seed": invoke("seed"),
    "Maximum checkpoints": invoke("max_checkpoints"),
    "Data source type": invoke("data_loader.dataset.type"),
    "Dataset directory": invoke("data_loader.dataset.dataset_dir"),
    "JSONL path": invoke("data_loader.dataset.jsonl_path"),
    "Hugging Face dataset": invoke("data_loader.dataset.dataset_name"),
    "Image column": invoke("data_loader.dataset.image_column"),
    "Caption column": invoke("data_loader.dataset.caption_column"),
    "Keep in memory": invoke("data_loader.dataset.keep_in_memory"),
    "Caption preset": invoke("data_loader.caption_preset"),
    "Caption templates": invoke("data_loader.caption_templates"),
    "Keep original captions": invoke("data_loader.keep_original_captions"),
    "Shuffle caption delimiter": invoke("data_loader.shuffle_caption_delimiter"),
    "Caption prefix": invoke("data_loader.caption_prefix"),
    "Resolution": invoke("data_loader.resolution"),
    "Data loading workers": invoke("data_loader.dataloader_num_workers"),
    "Center crop": invoke("data_loader.center_crop"),
    "Random flip": invoke("data_loader.random_flip"),
    "Aspect ratio bucketing": invoke("data_loader.aspect_ratio_buckets"),
    "Target resolution": invoke("data_loader.aspect_ratio_buckets.target_resolution"),
    "Start dimension": invoke("data_loader.aspect_ratio_buckets.start_dim"),
    "End dimension": invoke("data_loader.aspect_ratio_buckets.end_dim"),
    "Divisible by": invoke("data_loader.aspect_ratio_buckets.divisible_by"),
    "Num vectors": invoke("num_vectors"),
    "Placeholder token": invoke("placeholder_token"),
    "Initializer token": invoke("initializer_token"),
    "Initial phrase": invoke("initial_phrase"),
    "Initial embedding file": invoke("initial_embedding_file"),
    "Optimizer": invoke("optimizer.optimizer_type"),
    "Learning rate": invoke("optimizer.learning_rate"),
    "Weight decay": invoke("optimizer.weight_decay"),
    "Use bias correction": invoke("optimizer.use_bias_correction"),
    "Safeguard warmup": invoke("optimizer.safeguard_warmup"),
    "Gradient accumulation steps": invoke("gradient_accumulation_steps"),
    "Mixed precision": invoke("mixed_precision"),
    "Cache text encoder outputs": invoke("cache_text_encoder_outputs"),
    "CPU offload during validation": invoke("enable_cpu_offload_during_validation"),
    "Cache VAE outputs": invoke("cache_vae_outputs"),
    "Gradient checkpointing": invoke("gradient_checkpointing"),
    "Train UNet": invoke("train_unet"),
    "UNet learning rate": invoke("unet_learning_rate"),
    "Train text encoder": invoke("train_text_encoder"),
    "Text encoder learning rate": invoke("text_encoder_learning_rate"),
    "Train textual inversion": invoke("train_ti"),
    "Textual inversion learning rate": invoke("textual_inversion_learning_rate"),
    "Textual inversion train steps ratio": invoke("ti_train_steps_ratio"),
    "Learning rate scheduler": invoke("lr_scheduler"),
    "Warmup steps": invoke("lr_warmup_steps"),
    "LoRA rank": invoke("lora_rank_dim"),
    "Min SNR gamma": invoke("min_snr_gamma"),
    "Max gradient norm": invoke("max_grad_norm"),
    "Train batch size": invoke("train_batch_size"),
    "Validation prompts": invoke("validation_prompts"),
    "Negative validation prompts": invoke("negative_validation_prompts"),
    "Images per validation prompt": invoke("num_validation_images_per_prompt"),
}

DOCUMENTS = {
    "OneTrainer's wiki, Additional Embeddings": S0,
    "The Civitai guide to textual inversion with kohya's scripts": S1,
    "OneTrainer's wiki, Training": S2,
    "kohya_ss' LoRA settings, explained": S3,
    "Invoke Training's page, a walk-through": S4,
}
