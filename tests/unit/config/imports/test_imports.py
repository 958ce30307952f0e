"""Settings of other trainers mean here what they meant there; what cannot is said, and nothing vanishes."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

import pivotal.config.imports.read as read
from pivotal.config.build import build, draft
from pivotal.config.imports.read import import_text, imported, imported_together, told_text
from pivotal.config.options import everything
from pivotal.config.train import TrainConfig
from pivotal.errors import OptionError

HERE = Path(__file__).parent
FILES = sorted(path for path in HERE.iterdir() if path.suffix in (".json", ".toml", ".yaml"))


def take(name: str, **changes):
    """The import of a file beside this one, some of a .json's settings changed."""
    text = (HERE / name).read_text(encoding="utf-8")
    return imported(json.dumps({**json.loads(text), **changes}) if changes else text, name)


def config_of(found, **more):
    return build(TrainConfig, {**found.flat, **more})


def names(told) -> set[str]:
    return {one.key for one in told}


@pytest.mark.parametrize(("name", "source"), [
    ("kohya_gui_lora.json", "kohya"), ("kohya_gui_ti.json", "kohya"), ("kohya_scripts.toml", "kohya"),
    ("kohya_dataset.toml", "kohya"), ("onetrainer_lora.json", "OneTrainer"), ("onetrainer_embedding.json", "OneTrainer"),
    ("invoke_pivotal.yaml", "Invoke Training")])  # fmt: skip
def test_a_file_is_known_by_what_is_in_it_and_sets_only_options_of_ours(name, source):
    text = (HERE / name).read_text(encoding="utf-8")
    found = import_text("\ufeff" + text, "pasted")  # no ending to go by, and the mark that Windows' editors begin with
    assert found is not None and found.source == source
    problems = draft(TrainConfig, found.flat)[1]
    assert not [key for key, text in problems.items() if "no such option" in text]


def leaves(value, prefix=""):
    """Every setting of a file, by the last part of its name."""
    if isinstance(value, dict) and value:
        for name, inner in value.items():
            yield from leaves(inner, name)
    elif isinstance(value, list) and value and all(isinstance(one, dict) for one in value):
        for one in value:
            yield from leaves(one, prefix)
    else:
        yield prefix


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_nothing_of_a_file_is_dropped_without_a_word(path, monkeypatch):
    """Every setting is looked up: it has a rule, or is told as unknown."""
    looked_up = []
    plain = read.imported.__globals__["read_kohya"].__globals__["apply"]

    def apply(rules, settings, reading):
        looked_up.extend(settings)
        return plain(rules, settings, reading)

    for module in [module for name, module in sys.modules.items() if name.startswith("pivotal.config.imports")]:
        if getattr(module, "apply", None) is plain:
            monkeypatch.setattr(module, "apply", apply)
    take(path.name)
    settings = read._parsed(path.read_text(encoding="utf-8"), path.name)
    handled = {part for name in looked_up for part in name.split(".")} | {"general", "datasets", "subsets", "algo"}
    missed = {name for name in leaves(settings) if name not in handled}
    assert missed <= {"optimizer", "beta1", "prompt"}, missed  # of optimizer_defaults, which is one setting
    assert len(looked_up) > 5


def test_the_guis_lora():
    found = take("kohya_gui_lora.json")
    made = config_of(found)
    assert (made.network.method, made.network.rank, made.network.alpha, made.network.conv_rank, made.network.conv_alpha) == (
        "lora", 16, 8, 8, 4)  # fmt: skip
    assert (made.targets.learning_rate, made.targets.text_encoder_1_rate, made.targets.text_encoder_2) == (1e-4, 5e-5, True)
    assert (made.optimizer.kind, made.optimizer.weight_decay, made.optimizer.beta_2) == ("adamw 8-bit", 0.05, 0.99)
    assert (made.schedule.kind, made.schedule.cycles, made.schedule.warmup) == ("cosine with restarts", 3, 0.1)  # sudden restarts
    assert (made.length.epochs, made.batch.size, made.batch.accumulation, made.seed) == (2, 4, 2, 1234)
    assert (made.dataset.resolution, made.buckets.kind, made.buckets.minimum, made.buckets.maximum) == (
        "768x512", "no upscale", 320, 1536)  # fmt: skip
    assert (made.noise.offset, made.noise.multires_iterations) == (0.05, 0)  # the type says Original
    assert (made.dataset.caption_extension, made.dataset.repeats_in_names) == (".caption", True)
    assert (made.concepts[0].kind, made.dataset.prior_weight) == ("regularization", 0.7)
    assert (made.targets.text_encoder_stop_after, made.targets.text_encoder_stop_unit) == (50, "percent")
    assert (made.loss.weighting, made.loss.gamma, made.objective.clip_skip, made.caption.max_tokens) == ("min-snr", 5, 2, "150")
    assert (made.cache.latents, made.cache.sampling) == ("disk", "once")
    assert (made.save.keep_copies, made.samples.sampler, made.network.norm_limit) == (3, "Euler a", 1)
    assert names(found.unknown) == {"use_tucker", "vae", "brand_new_setting"}
    assert "wandb_api_key" in names(found.quiet) and "secret" not in str(found.flat)


@pytest.mark.parametrize(("unet", "text", "expected"), [
    (0.0, 0.0, (True, True, 2e-4, 2e-4)), (1e-4, 0.0, (True, False, 1e-4, 2e-4)), (0.0, 5e-5, (False, True, 2e-4, 5e-5))])
def test_the_guis_rates_of_zero(unet, text, expected):
    """Both 0: the run's rate for both. One 0: that part is not trained (catalogue 6.4)."""
    targets = config_of(take("kohya_gui_lora.json", unet_lr=unet, text_encoder_lr=text)).targets
    assert (targets.unet, targets.text_encoder_1, targets.learning_rate, targets.text_encoder_1_rate) == expected


def test_the_guides_textual_inversion():
    made = config_of(take("kohya_gui_ti.json"))
    row = made.embeddings[0]
    assert (row.placeholder, row.token_count, row.initial_text) == ("zkmara", 5, "woman")
    assert (made.network.method, made.optimizer.learning_rate, made.batch.accumulation, made.length.steps) == (
        "none", 0.005, 15, 1000)  # fmt: skip
    assert made.dataset.captions == "object" and made.noise.multires_iterations == 8 and made.noise.offset == 0


def test_sd_scripts_toml():
    found = take("kohya_scripts.toml")
    made = config_of(found, **{"dataset.folder": "images"})
    assert (made.network.method, made.network.rank, made.network.alpha, made.network.conv_rank) == ("loha", 32, 32, 8)
    assert (made.optimizer.kind, made.optimizer.estimate_factor, made.optimizer.bias_correction, made.optimizer.growth_limit,
            made.optimizer.arguments) == ("prodigy", 2, True, None, ("slice_p = 11",))  # fmt: skip
    assert (made.targets.text_encoder_1_rate, made.targets.text_encoder_2_rate) == (0.5, 0.25)
    assert (made.length.epochs, made.schedule.warmup, made.loss.kind, made.loss.weighting) == (8, 50, "smooth l1", "debiased")
    # A short list is filled with 1; but Prodigy keeps one rate, which kohya says only in its log.
    (blocks,) = [told for told in found.unknown if told.key == "blocks.weights"]
    assert blocks.value == "0.5, 0.5, 1, 1, 1, 1, 1, 1, 1 / 2 / zeros+1" and "one rate for all blocks" in blocks.text
    assert (made.objective.prediction, made.objective.zero_terminal_snr, made.optimizer.clip_norm) == ("v", "on", 1)
    assert {"precision.weights", "made_up", "min_snr_gamma", "sample_prompts", "sample_sampler"} <= names(found.unknown)


def test_a_silent_script_file_means_sd_scripts_defaults():
    """Catalogue A.2: rate 2e-6, 1600 steps, batch 1, clipping at 1, .caption, alpha 1, no buckets."""
    made, _ = draft(TrainConfig, imported('network_module = "networks.lora"\nnetwork_dim = 8\nsdpa = true\n', "x.toml").flat)
    assert (made.targets.learning_rate, made.length.steps, made.batch.size, made.optimizer.clip_norm,
            made.dataset.caption_extension, made.network.alpha, made.buckets.kind) == (
        2e-6, 1600, 1, 1, ".caption", 1, "off")  # fmt: skip


def test_adafactor_of_kohya_takes_its_relative_step_unless_told_not_to():
    found = take("kohya_gui_lora.json", optimizer="Adafactor", optimizer_args="")
    assert found.flat["optimizer.relative_step"] is True
    plain = take("kohya_gui_lora.json", optimizer="Adafactor", optimizer_args="relative_step=False scale_parameter=False")
    assert (plain.flat["optimizer.relative_step"], plain.flat["optimizer.scale_parameter"]) == (False, False)


def test_a_dataset_joins_its_settings():
    files = ("kohya_scripts.toml", "kohya_dataset.toml")
    found = imported_together(((HERE / name).read_text(encoding="utf-8"), name) for name in files)
    made, _ = draft(TrainConfig, found.flat)
    assert (made.dataset.folder, made.dataset.resolution, made.batch.size) == ("", "640x512", 2)
    mara, women = made.concepts  # the first has words of its own, which a run's dataset has not
    assert (mara.folder, mara.kind, mara.text, mara.repeats, mara.flip) == ("D:/mara", "training", "mara woman", 10, None)
    assert (women.folder, women.kind, women.text, women.repeats, women.flip) == ("D:/women", "regularization", "woman", 1, 0.5)
    assert found.unknown[-3].key == "sample_sampler"  # nothing of the dataset, and what LoHa and Prodigy have not


def test_onetrainer_counts_batches_and_we_count_updates():
    found = take("onetrainer_lora.json")
    made = config_of(found)
    assert made.batch.accumulation == 4
    first, second = made.embeddings
    assert (first.stop_after, first.stop_unit, first.token_count, first.preserve_norm) == (500, "steps", 4, True)  # 2000 / 4
    assert (second.token_count, second.initial_text) == (None, "oil painting")
    assert made.schedule.warmup == 50 and made.save.state_every_steps == 100  # 200 / 4, 400 / 4
    assert made.schedule.kind == "cosine wave"  # its "with restarts" is smooth
    assert made.objective.clip_skip == 3  # one more than SDXL's second to last
    assert {"learning_rate_warmup_steps", "backup_after", "text_encoder_layer_skip"} <= names(found.changed)


def test_onetrainers_other_settings():
    found = take("onetrainer_lora.json")
    made = config_of(found)
    assert (made.optimizer.kind, made.optimizer.growth_limit, made.optimizer.safeguard_warmup) == ("prodigy", 2, True)
    assert made.optimizer.ema_decay**5 == pytest.approx(0.999, abs=1e-5)  # averaged every step, not every fifth
    assert (made.optimizer.learning_rate, made.targets.learning_rate, made.targets.text_encoder_1_rate) == (0.8, 1, 0.5)
    assert (made.targets.text_encoder_2, made.targets.filter, made.network.dora) == (False, "attn1|attn2", True)
    assert (made.loss.mix, made.timesteps.distribution, made.timesteps.spread, made.timesteps.maximum) == (
        "mse 0.7, l1 0.3", "logit normal", 1.5, 800)  # fmt: skip
    assert (made.precision.compute, made.precision.tf32, made.length.epochs, made.save.every_epochs) == ("fp32", "on", 40, 5)
    mask = made.mask
    assert (mask.source, mask.unmasked_weight, mask.normalize, mask.prior_weight) == ("files", 0.2, True, 0.5)
    assert made.samples.prompts == ("zkmara in a park --w 768 --h 1024 --d 42 --l 7.0 --s 20 --ss Euler a --n blurry",
                                    "# off")  # a sample that is switched off there
    assert {"learning_rate_scaler", "surprise", "optimizer.cautious", "sample_after"} <= names(found.unknown)
    assert "secrets.huggingface_token" in names(found.quiet) and "never written" not in str(found.flat)


def test_onetrainers_concepts():
    made = config_of(take("onetrainer_lora.json"))
    assert (made.dataset.folder, made.dataset.repeats, made.augment.versions, made.augment.brightness) == ("D:/mara", 10, 4, 0.1)
    assert (made.caption.tag_dropout, made.caption.tags_to_keep, made.caption.keep_tags) == (0.2, ("zkmara", "woman"), 1)
    held, women = made.concepts
    assert (held.folder, held.kind) == ("D:/held", "validation")
    assert (women.kind, women.images_per_epoch, women.loss_weight, women.captions) == ("regularization", 50, 0.5, "file names")
    assert made.dataset.regularization == "prediction"
    concepts = json.loads((HERE / "onetrainer_lora.json").read_text(encoding="utf-8"))["concepts"]
    alone = imported(json.dumps(concepts), "concepts.json")
    assert alone.flat["dataset.folder"] == "D:/mara" and alone.flat["concepts.0.kind"] == "validation"


def test_onetrainers_preset_for_an_embedding_means_its_defaults():
    made = config_of(take("onetrainer_embedding.json"), **{"dataset.folder": "images"})
    assert (made.network.method, made.optimizer.learning_rate, made.length.epochs, made.batch.size, made.schedule.warmup,
            made.buckets.kind, made.cache.latents, made.precision.compute) == (
        "none", 3e-4, 100, 1, 20, "onetrainer", "off", "fp16")  # fmt: skip
    assert (made.embeddings[0].placeholder, made.embeddings[0].token_count) == ("zkmara", 3)


def test_old_files_of_onetrainer_name_one_text_encoder_for_both():
    old = {"training_method": "LORA", "model_type": "STABLE_DIFFUSION_XL_10_BASE", "base_model_name": "x.safetensors",
           "optimizer": "ADAMW", "train_text_encoder": False, "text_encoder_learning_rate": 2e-4, "unet_learning_rate": 3e-4,
           "unmasked_probability": 0.1, "backup_after": 30, "backup_after_unit": "MINUTE", "save_after": 0,
           "save_after_unit": "NEVER"}  # fmt: skip
    found = imported(json.dumps(old), "old.json")
    made = config_of(found, **{"dataset.folder": "images"})
    assert (made.targets.text_encoder_1, made.targets.text_encoder_2, made.targets.learning_rate) == (False, False, 3e-4)
    assert (made.save.state_every_minutes, made.save.every_steps, made.checkpoint) == (30, 0, "x")
    assert names(found.unknown) == set() and "unmasked_probability" not in names(found.changed)


def test_invokes_pivotal_run():
    found = take("invoke_pivotal.yaml")
    made = config_of(found)
    row = made.embeddings[0]
    assert (row.placeholder, row.token_count, row.initial_text, row.fill) == ("bruce_the_gnome", 2, "gnome", "repeat")
    assert (row.stop_after, row.stop_unit) == (40, "percent")
    assert (made.network.rank, made.network.alpha, made.targets.text_encoder_2, made.optimizer.kind) == (8, 1, True, "prodigy")
    assert (made.buckets.kind, made.buckets.minimum, made.buckets.maximum) == ("invoke", 768, 1280)
    assert made.dataset.resolution == "1024"
    assert (made.dataset.captions, made.dataset.template_place, made.dataset.templates[1]) == ("own", "before", "a drawing of {}")
    assert made.samples.prompts[0] == "A photo of bruce_the_gnome at the beach --n blurry" and made.samples.count == 3
    assert (made.caption.delimiter, made.augment.flip, made.augment.random_crop) == (";", 0.5, True)
    assert {"report_to", "vae_model", "model"} <= names(found.unknown)


def test_invokes_sides_are_height_first_and_ours_width_first():
    text = "type: SD_LORA\ndata_loader: {type: IMAGE_CAPTION_SD_DATA_LOADER, resolution: [512, 768], dataset: {dataset_dir: a}}\n"
    assert imported(text, "x").flat["dataset.resolution"] == "768x512"


def test_a_value_outside_ours_becomes_the_nearest_and_is_told_under_our_key():
    found = take("kohya_gui_lora.json", clip_skip=40, noise_offset=3, bucket_reso_steps=1, max_resolution="650,652", seed="x")
    made, told = config_of(found), {one.key: one.text for one in found.changed}
    assert (made.noise.offset, made.buckets.step, made.dataset.resolution) == (1, 8, "648x656")
    assert {"objective.clip_skip", "noise.offset", "buckets.step", "dataset.resolution"} <= told.keys()
    assert "expected at most 1" in told["noise.offset"] and {one.key for one in found.unknown} >= {"seed"}


STRANGE = [None, "x", -1, True, [], {}, [1], {"a": 1}, float("nan"), 1e400, "1e400", 10**400, "\ud800"]


@pytest.mark.parametrize("turn", range(4))
def test_any_value_of_any_setting_is_read_or_told(turn):
    """Whatever stands in a file: no crash, and ours builds or says what is wrong."""
    count = 0
    for path in FILES:
        if path.suffix != ".json":
            continue
        settings = json.loads(path.read_text(encoding="utf-8"))
        for index, name in enumerate(settings):
            if name in ("LoRA_type", "training_method"):
                continue
            found = read._read({**settings, name: STRANGE[(index + turn * 3) % len(STRANGE)]})
            assert found is not None and all(isinstance(one.text, str) and one.text for one in found.unknown)
            draft(TrainConfig, found.flat)
            count += 1
    assert count > 200


@pytest.mark.parametrize("text", ["name: mine\nlength: {steps: 3}\n", "", "[1, 2]", '{"a": 1}',
                                  "seed: 3\nnetwork: {unit: 1, factor: 2}"])  # fmt: skip
def test_what_is_of_no_other_trainer_is_none(text):
    assert import_text(text, "x") is None
    with pytest.raises(OptionError, match="no trainer"):
        imported(text, "x")


@pytest.mark.parametrize(("text", "name", "word"), [
    ("{", "x.json", "not JSON"), ("a = ", "x.toml", "not TOML"), ("[a]\nb = [", "x", "not TOML"), ("a: [", "x.yaml", "not YAML")])
def test_a_broken_file_is_named(text, name, word):
    with pytest.raises(OptionError, match=word):
        imported(text, name)


def test_without_a_reader_of_toml_the_sentence_says_how_to_get_one(monkeypatch):
    monkeypatch.setattr(read, "_TOML", ("no_such_reader",))
    with pytest.raises(OptionError, match="pip install tomli"):
        take("kohya_scripts.toml")


def test_a_told_line_is_short():
    line = told_text(take("onetrainer_lora.json").quiet[0])
    assert "\n" not in line
    assert all(len(told_text(one)) < 400 for path in FILES for one in take(path.name).quiet)


def test_every_rule_names_options_that_exist():
    from pivotal.config.imports import a1111_names, invoke_names, kohya_names, onetrainer_names

    known = {option.key for option in everything(TrainConfig)} | {"embeddings.0.placeholder"}
    tables = [kohya_names.KOHYA, kohya_names.SUBSET, onetrainer_names.ONETRAINER, onetrainer_names.CONCEPT, invoke_names.INVOKE,
              a1111_names.A1111, a1111_names.A1111_FILE]  # fmt: skip
    used = {key.replace(".0.", ".N.") for table in tables for rule in table.values() for key in rule.keys}
    assert used - known == set()
    assert sum(map(len, tables)) > 500
    assert all(rule.keys or rule.text for table in tables for rule in table.values())
