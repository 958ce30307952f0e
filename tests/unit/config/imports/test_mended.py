"""A file of another trainer can be carried out as it is read, but for paths; what that took is told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pivotal.config.build import build, draft
from pivotal.config.imports.read import import_text, imported, imported_together
from pivotal.config.train import TrainConfig

HERE = Path(__file__).parent
CONCEPT = {"path": "D:/mara", "balancing": 1.0, "image": {"enable_crop_jitter": True}, "text": {}}


def read(name: str, **changes):
    """The import of a file beside this one, some of a .json's settings changed."""
    text = (HERE / name).read_text(encoding="utf-8")
    return imported(json.dumps({**json.loads(text), **changes}) if changes else text, name)


def told(found) -> dict[str, str]:
    return {one.key: one.text for one in found.changed}


LYCORIS = {"LoRA_type": "LyCORIS/LoKr", "network_dim": 100000, "conv_dim": 100000, "bucket_reso_steps": 1, "unet_lr": 1.0,
           "text_encoder_lr": 1.0, "learning_rate": 1.0, "optimizer": "Prodigy", "lr_scheduler": "cosine",
           "optimizer_args": '"d0=1e-5" "d_coef=1.0" "weight_decay=0.4" "decouple=True" "betas=0.9,0.99"'}  # fmt: skip
# What people have in their files and we do not take as it stands: each of these has been seen in a preset or a question.
REALISTIC = [
    ("kohya_gui_lora.json", {}), ("kohya_gui_lora.json", {"color_aug": True}), ("kohya_gui_lora.json", {"random_crop": True}),
    ("kohya_gui_lora.json", {"random_crop": True, "color_aug": True, "flip_aug": True}), ("kohya_gui_lora.json", LYCORIS),
    ("kohya_gui_lora.json", {"optimizer": "Prodigy", "unet_lr": 1e-4, "text_encoder_lr": 5e-5, "optimizer_args": ""}),
    ("kohya_gui_lora.json", {"optimizer": "DAdaptAdam", "unet_lr": 1, "text_encoder_lr": 1, "optimizer_args": "",
                             "down_lr_weight": "1,1,1", "mid_lr_weight": "0.5"}),
    ("kohya_gui_lora.json", {"optimizer": "Adafactor", "optimizer_args": "scale_parameter=True relative_step=True weight_decay=2",
                             "loraplus_lr_ratio": 16}),
    ("kohya_gui_lora.json", {"caption_extension": ".none-use-foldername", "max_resolution": "650,650", "enable_bucket": False}),
    ("kohya_gui_lora.json", {"LoRA_type": "LyCORIS/iA3", "min_bucket_reso": 250, "max_bucket_reso": 1001, "seed": ""}),
    ("kohya_gui_lora.json", {"noise_offset": 1.5, "min_snr_gamma": 20, "clip_skip": 13, "v_pred_like_loss": 0.5,
                             "v_parameterization": True}),
    ("kohya_gui_ti.json", {}), ("kohya_gui_ti.json", {"random_crop": True, "template": "style template"}),
    ("kohya_gui_ti.json", {"keep_tokens": "", "min_timestep": False}), ("kohya_scripts.toml", {}),
    ("onetrainer_lora.json", {}), ("onetrainer_lora.json", {"generalized_offset_noise": True, "offset_noise_weight": 0.0}),
    ("onetrainer_lora.json", {"concepts": [CONCEPT], "latent_caching": True}),
    ("onetrainer_lora.json", {"concepts": [{**CONCEPT, "image": {"enable_random_hue": True, "random_hue_max_strength": 0.1}}]}),
    ("onetrainer_lora.json", {"optimizer": {"optimizer": "SCHEDULE_FREE_ADAMW", "beta1": 0.9}, "ema": "GPU"}),
    ("onetrainer_lora.json", {"learning_rate": 1e-4, "resolution": "500,768"}),
    ("onetrainer_embedding.json", {"concepts": [CONCEPT], "latent_caching": True, "training_method": "EMBEDDING"}),
    ("invoke_pivotal.yaml", {}), ("a1111_settings.json", {}),
    ("a1111_settings.json", {"learn_rate": "0.005", "clip_grad_mode": "value", "training_width": 500}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "changes"), REALISTIC)
def test_a_realistic_file_can_be_carried_out(name, changes):
    found = read(name, **changes)
    build(TrainConfig, {"dataset.folder": "images", **found.flat})  # raises what is wrong
    assert all(one.text for one in (*found.changed, *found.unknown))


def test_one_crop_in_the_cache_becomes_none_and_one_colour_several():
    cropped = read("onetrainer_lora.json", concepts=[CONCEPT])
    made = build(TrainConfig, cropped.flat)
    assert (made.augment.random_crop, made.augment.versions, made.cache.latents) == (False, 1, "disk")
    assert "one crop of each image" in told(cropped)["augment.random_crop"]
    coloured = read("kohya_gui_lora.json", color_aug=True, random_crop=True)
    made = build(TrainConfig, coloured.flat)
    assert (made.augment.random_crop, made.augment.versions, made.augment.hue) == (True, 4, 0.03)
    assert told(coloured)["augment.versions"].startswith("4: latents are cached")
    free = read("onetrainer_lora.json", concepts=[CONCEPT], latent_caching=False)
    assert free.flat["augment.random_crop"] is True and "augment.random_crop" not in told(free)


def test_a_crop_of_a_dataset_stays_where_the_settings_beside_it_cache_nothing():
    dataset = '[[datasets]]\nresolution = 512\n[[datasets.subsets]]\nimage_dir = "a"\nrandom_crop = true\n'
    settings = 'network_module = "networks.lora"\nnetwork_dim = 8\ncache_latents = {}\n'
    for cached in ("false", "true"):
        found = imported_together([(settings.format(cached), "a.toml"), (dataset, "b.toml")])
        assert found.flat.get("augment.random_crop", False) is (cached == "false")


def test_quoted_arguments_of_an_optimizer_are_arguments():
    made = build(TrainConfig, read("kohya_gui_lora.json", **LYCORIS).flat)
    assert (made.optimizer.kind, made.optimizer.weight_decay, made.optimizer.beta_2) == ("prodigy", 0.4, 0.99)
    assert (made.network.rank, made.network.conv_rank, made.buckets.step) == (4096, 4096, 8)


def test_numbers_become_the_nearest_ones_and_say_what_they_were():
    found = read("kohya_gui_lora.json", noise_offset=1.5, max_resolution="650,650", optimizer="Prodigy", optimizer_args="",
                 unet_lr=1e-4, text_encoder_lr=5e-5)
    made = build(TrainConfig, found.flat)
    assert (made.noise.offset, made.dataset.resolution, made.targets.learning_rate) == (1, "648", 1)
    assert "expected at most 1, got 1.5" in told(found)["noise.offset"]
    assert told(found)["targets.learning_rate"].startswith("1.0: prodigy finds the rate itself")
    assert [one.value for one in found.changed if one.key == "dataset.resolution"] == ["650"]


def test_switches_of_kohyas_for_captions_mean_the_same():
    found = read("kohya_gui_lora.json", no_token_padding=True, cache_text_encoder_outputs_to_disk=True, shuffle_caption=True)
    made = build(TrainConfig, found.flat)
    assert (made.caption.padding, made.cache.text, made.caption.shuffle) == (False, "disk", True)
    assert build(TrainConfig, read("kohya_gui_lora.json", no_token_padding=False).flat).caption.padding is True


def test_what_is_only_the_users_to_say_stays_a_problem():
    found = imported('[[datasets]]\n[[datasets.subsets]]\nimage_dir = "a"\nbatch_size = 2\n', "d.toml")
    assert set(draft(TrainConfig, found.flat)[1]) == {"embeddings"}
    assert set(draft(TrainConfig, imported((HERE / "kohya_scripts.toml").read_text(encoding="utf-8"), "x.toml").flat)[1]) == {
        "dataset.folder"}


def concept(path, image=None, text=None, **more):
    return {"path": path, "balancing": 1.0, "image": {"enable_crop_jitter": False, **(image or {})}, "text": text or {}, **more}


def test_each_concept_of_onetrainer_keeps_what_is_its_own():
    first = concept("a", {"enable_random_flip": True}, {"enable_tag_shuffling": True, "keep_tags_count": 2})
    second = concept("b", {"enable_resolution_override": True, "resolution_override": "768"}, {
        "keep_tags_count": 1, "tag_dropout_enable": True, "tag_dropout_probability": 0.5, "tag_dropout_mode": "RANDOM",
        "tag_dropout_special_tags_mode": "BLACKLIST", "tag_dropout_special_tags": "hat, shoe"})
    held = concept("c", type="VALIDATION")
    found = read("onetrainer_lora.json", concepts=[first, second, held])
    made = build(TrainConfig, found.flat)
    own, measured = made.concepts
    assert (made.augment.flip, made.caption.shuffle, made.caption.keep_tags, made.caption.tag_dropout) == (0.5, True, 2, 0)
    assert (own.flip, own.shuffle, own.keep_tags, own.tag_dropout, own.tags_to_drop, own.resolution) == (
        0, "off", 1, 0.5, ("hat", "shoe"), "768")
    assert (measured.kind, measured.flip, measured.shuffle, measured.keep_tags) == ("validation", None, "as the run", None)


@pytest.mark.parametrize(("mode", "ours"), [
    ("FULL", "all at once"), ("RANDOM", "each tag"), ("RANDOM WEIGHTED", "later tags more")])
def test_onetrainers_tag_dropout_keeps_its_mode_and_its_expressions(mode, ours):
    text = {"tag_dropout_enable": True, "tag_dropout_probability": 0.3, "tag_dropout_mode": mode, "tag_delimiter": ";",
            "tag_dropout_special_tags_mode": "WHITELIST", "tag_dropout_special_tags": "red .*; a, b",
            "tag_dropout_special_tags_regex": True, "caps_randomize_enable": True, "caps_randomize_probability": 0.5}
    found = read("onetrainer_lora.json", concepts=[concept("a", text=text)])
    caption = build(TrainConfig, found.flat).caption
    assert (caption.tag_dropout_kind, caption.tags_to_keep) == (ours, ("red .*", "a, b"))
    assert caption.tag_patterns == "regular expressions"
    assert "text.caps_randomize_enable" in {one.key for one in found.quiet}
    filed = read("onetrainer_lora.json", concepts=[concept("a", text={**text, "tag_dropout_special_tags": "D:/tags.csv"})])
    assert "concept 1: text.tag_dropout_special_tags" in {one.key for one in filed.unknown}


def test_the_settings_that_a1111_writes_beside_its_logs():
    """modules/textual_inversion/saving_settings.py of A1111 1.10 names what is in them."""
    found = import_text((HERE / "a1111_settings.json").read_text(encoding="utf-8"), "settings-2024-03-02-18-20-11.json")
    assert found.source == "AUTOMATIC1111"
    made = build(TrainConfig, found.flat)
    (row,) = made.embeddings
    assert (row.placeholder, row.token_count, made.network.method) == ("zkmara", 6, "none")
    assert made.checkpoint == "v1-5-pruned-emaonly"
    assert (made.schedule.kind, made.schedule.rates, made.optimizer.learning_rate) == (
        "rate list", "0.005:200, 1e-3:1500, 1e-5", 0.005)
    assert (made.optimizer.kind, made.optimizer.weight_decay, made.optimizer.clip_norm) == ("adamw", 0, 0.1)
    assert (made.batch.size, made.batch.accumulation, made.length.steps) == (2, 8, 3000)
    assert (made.dataset.folder, made.dataset.resolution, made.buckets.kind) == ("D:\\sets\\mara", "512x640", "off")
    assert (made.dataset.captions, made.cache.sampling) == ("list", "mean")  # its file of templates is read as it is
    assert made.dataset.caption_list == "D:\\webui\\textual_inversion_templates\\subject_filewords.txt"
    assert (made.samples.every_steps, made.save.every_steps) == (500, 250)
    assert made.samples.prompts == ("zkmara, in a park --w 512 --h 640 --l 7.0 --s 20 --n blurry",)  # a seed of -1 is any
    assert {one.key for one in found.unknown} == {"save_image_with_stored_embedding"}


@pytest.mark.parametrize(("changes", "told_key"), [
    ({"clip_grad_mode": "value"}, "clip_grad_mode"), ({"clip_grad_value": "1:10, 0.1"}, "clip_grad_value"),
    ({"learn_rate": "fast"}, "learn_rate"), ({"initial_step": 500}, "initial_step"),
    ({"hypernetwork_name": "old"}, "hypernetwork_name"), ({"brand_new": 1}, "brand_new")])
def test_what_is_not_taken_from_a1111_is_told(changes, told_key):
    assert told_key in {one.key for one in read("a1111_settings.json", **changes).unknown}
