"""Fields of AUTOMATIC1111's Train tab and of its settings for training, by their labels and names."""

from __future__ import annotations

from pivotal.config.imports.rules import Rule, always, missing, nothing, parts, to

A1111: dict[str, Rule] = {
    "Name": to("embeddings.0.placeholder"),
    "Initialization text": to("embeddings.0.initial_text"),
    "Number of vectors per token": to("embeddings.0.token_count"),
    "Overwrite Old Embedding": to("save.existing", words={True: "replace", False: "refuse"}),
    "Embedding": to("embeddings.0.base_embedding"),
    "Embedding Learning rate": parts("optimizer.learning_rate", "schedule.rates"),
    "Gradient Clipping": parts("optimizer.clip_norm"),
    "Batch size": to("batch.size"),
    "Gradient accumulation steps": to("batch.accumulation"),
    "Dataset directory": to("dataset.folder"),
    "Log directory": nothing("Logs lie in the run's own folder."),
    "Prompt template": parts("dataset.captions", "dataset.templates"),
    "Width": parts("dataset.resolution"), "Height": parts("dataset.resolution"),
    "Do not resize images": to("buckets.kind", words={True: "exact sizes", False: "off"}),
    "Max steps": to("length.steps"),
    "Save an image to log directory every N steps": to("samples.every_steps"),
    "Save a copy of embedding to log directory every N steps": to("save.every_steps"),
    "Use PNG alpha channel as loss weight": to("mask.source", words={True: "alpha"}, off=(False,)),
    "Save images with embedding in PNG chunks": missing("Embeddings are written as .safetensors alone."),
    "Read parameters from txt2img tab": parts("samples.prompts", "samples.sampler", "samples.steps", "samples.cfg_scale",
                                              "samples.seed", "samples.size"),
    "Shuffle tags by ',' when creating prompts": to("caption.shuffle"),
    "Drop out tags when creating prompts": to("caption.tag_dropout"),
    "Choose latent sampling method": to("cache.sampling", words={"once": "once", "deterministic": "mean", "random": "anew"}),
    "unload_models_when_training": nothing("The WebUI's own model is lent; nothing of it is moved."),
    "pin_memory": nothing("Batches are small once they are latents."),
    "save_optimizer_state": always("save.state_every_steps", text="A state is written in every run."),
    "save_training_settings_to_txt": always("name", text="The run's folder holds its run.yaml."),
    "dataset_filename_word_regex": missing("Captions from file names are the names without leading digits and dashes."),
    "dataset_filename_join_string": nothing("Belongs to the expression for file names."),
    "training_image_repeats_per_epoch": to("dataset.repeats"),
    "training_write_csv_every": to("logs.csv", by=bool),
    "training_xattention_optimizations": nothing("PyTorch's own attention is always used."),
    "training_enable_tensorboard": to("logs.tensorboard"),
    "training_tensorboard_save_images": nothing("With TensorBoard on, samples are in it."),
    "training_tensorboard_flush_every": nothing("Every step is flushed."),
}
