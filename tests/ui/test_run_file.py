"""The run as a file beside the form, and the recipe inside a result."""

import json
from pathlib import Path

import gradio as gr
import pytest
import torch
import yaml
from safetensors.torch import save_file

from fake_host import FakeHost, write_dataset
from pivotal.config.build import build
from pivotal.config.options import flatten
from pivotal.config.train import TrainConfig
from pivotal.errors import OptionError
from pivotal.jobs.desk import Desk
from pivotal.jobs.recipe_file import recipe_in
from pivotal.ui.form import Form
from pivotal.ui.presets import Presets
from pivotal.ui.run_file import RunFile
from pivotal.ui.tab import _Actions
from runs import carry_out

FILES = Path(__file__).resolve().parents[1] / "unit" / "config" / "imports"
KOHYA = {  # as train_network.py of sd-scripts writes them: all as text
    "ss_learning_rate": "0.0001", "ss_unet_lr": "0.0002", "ss_text_encoder_lr": "None", "ss_network_dim": "32",
    "ss_network_alpha": "16.0", "ss_network_module": "networks.lora", "ss_network_args": json.dumps({"conv_dim": "8"}),
    "ss_optimizer": "bitsandbytes.optim.adamw.AdamW8bit(weight_decay=0.1,betas=(0.9, 0.99))", "ss_max_train_steps": "1200",
    "ss_lr_scheduler": "cosine", "ss_lr_warmup_steps": "100", "ss_seed": "42", "ss_clip_skip": "2", "ss_noise_offset": "0.05",
    "ss_min_snr_gamma": "5.0", "ss_gradient_accumulation_steps": "2", "ss_output_name": "mara", "ss_session_id": "99",
    "ss_tag_frequency": "{}", "ss_base_model_version": "sd_v1", "ss_sd_model_name": "v1-5.safetensors",
    "ss_datasets": json.dumps([{"batch_size_per_device": 3, "resolution": [512, 640], "enable_bucket": True,
                                "subsets": [{"flip_aug": True, "shuffle_caption": True, "keep_tokens": 1}]}]),
}  # fmt: skip


@pytest.fixture
def host(tmp_path):
    return FakeHost(tmp_path / "host")


def page(host, **values):
    with gr.Blocks():
        form, presets, run_file = Form(TrainConfig, values), Presets(host), RunFile(host)
        presets.draw_choice()
        run_file.draw(presets)
        answers = [gr.HTML(), *form.sections.values()]
        run_file.connect(form, _Actions(Desk(host), form).told, answers)
    return run_file, [widget.value for widget in form.inputs]


def values_of(run_file, updates):
    count = len(run_file.form.inputs)
    return [update["value"] for update in updates[:count]]


def test_the_form_goes_to_a_run_file_and_back(host):
    given = {"dataset.folder": "/x", "seed": 5, "embeddings.0.placeholder": "a", "embeddings.1.placeholder": "b"}
    run_file, values = page(host, **given)
    text = run_file.written(*values)[0]["value"]
    assert yaml.safe_load(text)["embeddings"][1]["placeholder"] == "b"
    again = values_of(run_file, run_file.read(text))
    assert run_file.form.flat(again) == run_file.form.flat(values)


def test_a_bad_run_file_leaves_the_form_as_it_is_and_tells_the_problem_beneath(host):
    run_file, values = page(host)
    for text, words in (("a: [", "YAML"), ("seed: x", "whole number"), ("no_such: 1", "no such option")):
        updates = run_file.read(text)
        assert all("value" not in update for update in updates[:len(values)])
        assert words in updates[-1]["value"] and "pivotal-error" in updates[-1]["value"]


def test_a_file_is_compared_with_the_form_before_it_is_filled_in(host):
    run_file, values = page(host, seed=5)
    told = run_file.compared("seed: 6\nbatch: {size: 2}", *values)["value"]
    assert "2 options would change" not in told and "would change" in told and "Seed: 5 \u2192 6" in told
    assert "Batch size: 4 \u2192 2" in told
    assert "YAML" in run_file.compared("a: [", *values)["value"]


def test_it_takes_other_trainers_files(host):
    run_file, values = page(host)
    updates = run_file.read((FILES / "onetrainer_lora.json").read_text(encoding="utf-8"))
    flat = run_file.form.flat(values_of(run_file, updates))
    assert (flat["network.method"], flat["embeddings.1.initial_text"], flat["concepts.0.kind"]) == (
        "lora", "oil painting", "validation")  # fmt: skip
    report = updates[-1]["value"]
    assert "OneTrainer" in report and "surprise = 1" in report and "never written" not in report
    # what is to be mended is told, and the form is filled in all the same
    updates = run_file.read((FILES / "kohya_scripts.toml").read_text(encoding="utf-8"))
    assert "dataset.folder" in updates[len(values)]["value"] and updates[0]["value"] == "my run"


def test_the_recipe_of_our_own_result_trains_again_alike(host, tmp_path):
    images = write_dataset(tmp_path / "images", 2)
    outcome, _ = carry_out(host, images, network__method="lora", network__rank=4, length__steps=2, samples__prompts="a\nb",
                           measure__images=0, cache__latents="off")
    assert outcome is not None
    run_file, values = page(host, **{"dataset.folder": str(images), "seed": 99})
    filled = run_file.form.flat(values_of(run_file, run_file.recipe("run", *values)))
    made, wanted = flatten(build(TrainConfig, filled)), flatten(build(TrainConfig, {
        "name": "run", "dataset.folder": str(images), "embeddings.0.placeholder": "zkteal", "embeddings.0.initial_text": "green",
        "embeddings.0.token_count": 2, "samples.every_steps": 0, "batch.size": 2, "measure.images": 0, "network.method": "lora",
        "network.rank": 4, "optimizer.learning_rate": 0.02, "length.steps": 2, "samples.prompts": "a\nb",
        "cache.latents": "off"}))
    assert {key: (made[key], wanted[key]) for key in made if made[key] != wanted[key]} == {}


def test_kohyas_metadata_fills_the_form_and_says_what_it_does_not_know(host, tmp_path):
    path = tmp_path / "theirs.safetensors"
    save_file({"x": torch.zeros(1)}, path, metadata=KOHYA)
    found = recipe_in(str(path), host.folders())
    config = build(TrainConfig, {**found.flat, "dataset.folder": "/x"})
    assert (config.network.method, config.network.rank, config.network.alpha, config.network.conv_rank) == ("lora", 32, 16, 8)
    assert (config.targets.learning_rate, config.targets.text_encoder_1) == (2e-4, False)
    assert (config.optimizer.kind, config.optimizer.weight_decay, config.optimizer.beta_2) == ("adamw 8-bit", 0.1, 0.99)
    assert (config.length.steps, config.schedule.kind, config.schedule.warmup) == (1200, "cosine", 100)
    assert (config.batch.size, config.batch.accumulation, config.seed) == (3, 2, 42)
    assert (config.augment.flip, config.caption.shuffle, config.caption.keep_tags) == (0.5, True, 1)
    assert config.dataset.resolution == "512x640" and config.noise.offset == 0.05 and config.objective.clip_skip == 2
    assert not any(told.key in ("tag_frequency", "session_id") for told in found.unknown)


def test_what_holds_no_recipe_is_refused_in_words(host, tmp_path):
    bare, text = tmp_path / "bare.safetensors", tmp_path / "a.safetensors"
    save_file({"x": torch.zeros(1)}, bare)
    text.write_bytes(b"\xff" * 40)
    for name, words in ((str(bare), "says nothing"), (str(text), "no whole"), ("nowhere", "no file"), ("", "Name a LoRA"),
                        (str(tmp_path / "gone"), "does not exist")):
        with pytest.raises(OptionError, match=words):
            recipe_in(name, host.folders())
