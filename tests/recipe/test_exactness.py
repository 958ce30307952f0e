"""A run that was stopped anywhere ends as one that was not, to the byte; the same recipe is the same file, another is not.

The suite tries a few combinations; `pytest -m slow` all features by every kind of run, more combinations, drawn from a seed,
and resuming in a process of its own.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from PIL import Image

from fake_host import FakeHost, write_dataset
from pivotal.config.build import draft
from pivotal.config.train import TrainConfig
from pivotal.events import Failed, Finished
from runs import QUICK, carry_out
from tiny import write_tiny

ROOT = Path(__file__).resolve().parents[2]
STEPS = 7
KINDS = {
    "embedding": {},
    "LoRA": {"network.method": "lora", "network.rank": 2, "targets.learning_rate": 1e-3},
    "both": {"network.method": "lora", "network.rank": 2, "targets.learning_rate": 1e-3, "targets.text_encoder_1": True},
}
FREE = {"optimizer.learning_rate": 1.0, "targets.learning_rate": 1.0, "targets.text_encoder_1_rate": 1.0,
        "optimizer.first_estimate": 1e-3}
FEATURES = {
    "plain": {},
    "accumulation": {"batch.accumulation": 3, "batch.size": 1},
    "EMA": {"optimizer.ema_decay": 0.9, "save.ema": "both"},
    "EMA on the CPU": {"optimizer.ema_half_life": 8, "performance.averages_on_cpu": True},
    "schedule-free": {"optimizer.kind": "schedule-free adamw"},
    "Prodigy": {"optimizer.kind": "prodigy", **FREE},
    "Adafactor": {"optimizer.kind": "adafactor"},
    "masks": {"mask.source": "files", "mask.unmasked_probability": 0.3, "mask.prior_weight": 0.2},
    "several resolutions": {"dataset.resolution": "64, 96"},
    "disk cache": {"cache.latents": "disk"},
    "no cache": {"cache.latents": "off"},
    "augmentation": {"augment.flip": 0.5, "augment.brightness": 0.2, "augment.versions": 2},
    "captions": {"caption.shuffle": True, "caption.tag_dropout": 0.3, "caption.dropout": 0.2, "caption.wildcards": True},
    "schedule": {"schedule.kind": "cosine with restarts", "schedule.cycles": 2, "schedule.warmup": 2},
    "noise": {"noise.offset": 0.1, "noise.offset_random": True, "noise.multires_iterations": 3, "noise.input_perturbation": 0.1},
    "timesteps": {"timesteps.distribution": "beta", "loss.weighting": "min-snr"},
    "bf16": {"precision.compute": "bf16"},
    "clipping": {"optimizer.clip_norm": 0.05},
    "checkpointing": {"precision.gradient_checkpointing": True, "performance.attention": "math"},
    "best step": {"measure.images": 2, "measure.every_steps": 2, "measure.restore_best": True},
    "samples": {"samples.every_steps": 2, "samples.steps": 1, "samples.prompts": ["zkteal"]},
}
ONLY_NETWORKS = {
    "bf16 weights": {"precision.weights": "bf16"},
    "bf16 weights, averaged": {"precision.weights": "bf16", "optimizer.ema_decay": 0.9, "precision.compute": "bf16"},
    "dropouts": {"network.dropout": 0.2, "network.rank_dropout": 0.2, "network.module_dropout": 0.2},
    "DoRA, LoRA+": {"network.dora": True, "network.plus_ratio": 4, "network.norm_limit": 1.0},
    "DyLoRA": {"network.method": "dylora"},
    "Prodigy, text encoder stops": {"optimizer.kind": "prodigy", **FREE, "targets.text_encoder_1": True,
                                    "targets.text_encoder_stop_after": 3, "targets.text_encoder_stop_unit": "steps"},
}
ONLY_BOTH = {"order": {"pivot.order": "embeddings first", "pivot.at": 0.5}, "norms kept": {"embeddings.0.preserve_norm": True}}
CELLS = [(kind, name) for kind in KINDS for name in {
    **FEATURES, **(ONLY_NETWORKS if kind != "embedding" else {}), **(ONLY_BOTH if kind == "both" else {})}]
ALL = FEATURES | ONLY_NETWORKS | ONLY_BOTH


def options_for(kind, *features):
    flat = {"measure.images": 0, "length.steps": STEPS, **KINDS[kind]}
    if kind == "LoRA":
        flat["optimizer.learning_rate"] = QUICK["optimizer.learning_rate"]
    for name in features:
        flat |= ALL[name]
    return flat


def cells(number):
    """As many, drawn without the plain ones: each with a second feature that goes with the first."""
    dice = random.Random(number)
    rich = [cell for cell in CELLS if cell[1] != "plain"]
    return [(kind, name, dice.choice([second for one, second in rich if one == kind and goes_with(kind, name, second)]))
            for kind, name in dice.sample(rich, number)]


def goes_with(kind, first, second):
    """Whether neither changes what the other says, and no rule forbids them at once."""
    flat = QUICK | {"dataset.folder": "images"} | options_for(kind, first, second)
    return not set(ALL[first]) & set(ALL[second]) and not draft(TrainConfig, flat)[1]


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = write_dataset(tmp_path_factory.mktemp("exact") / "images", 5)
    for index, path in enumerate(sorted(folder.glob("*.png"))):
        path.with_suffix(".txt").write_text(f"a zkteal circle, tag {index}, {{red|blue}} ground", encoding="utf-8")
        with Image.open(path) as image:
            plain = image.convert("RGB")
        shades = Image.linear_gradient("L").resize(plain.size)
        shades.save(path.with_name(f"{path.stem}-masklabel.png"))
        # From left to right, so that a flip is seen.
        Image.blend(plain, shades.transpose(Image.Transpose.ROTATE_90).resize(plain.size).convert("RGB"), 0.5).save(path)
    return folder


def finished(folder, images, kind, flat, **how):
    """The run's files, by name."""
    host = FakeHost(folder)
    _, events = carry_out(host, images, alone=kind == "LoRA", **how, **flat)
    assert isinstance(events[-1], Finished), events[-1].message if isinstance(events[-1], Failed) else events[-1]
    return results(folder)


def results(folder):
    """What hosts read; the pictures beside it are samples, drawn anew."""
    return {path.name: path.read_bytes() for place in ("embeddings", "models/Lora")
            for path in (folder / place).iterdir() if path.suffix in (".safetensors", ".json")}


def check_resumed(folder, images, kind, *features):
    flat = options_for(kind, *features)
    step = random.Random(f"{kind}{features}").randrange(1, STEPS)
    whole = finished(folder / "whole", images, kind, flat)
    assert whole
    finished(folder / "parts", images, kind, flat, stop_after=step)
    assert finished(folder / "parts", images, kind, flat, resume=True) == whole, f"stopped after step {step}"


@pytest.mark.parametrize(("kind", "first", "second"), [
    ("embedding", "EMA", "disk cache"), ("LoRA", "schedule-free", "several resolutions"), ("both", "accumulation", "masks"),
    ("both", "Prodigy", "bf16 weights")], ids=str)
def test_a_stopped_run_ends_as_one_that_was_not(tmp_path, images, kind, first, second):
    check_resumed(tmp_path, images, kind, first, second)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "feature"), CELLS, ids=str)
def test_every_feature_resumes_to_the_byte(tmp_path, images, kind, feature):
    check_resumed(tmp_path, images, kind, feature)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "first", "second"), cells(50), ids=str)
def test_features_together_resume_to_the_byte(tmp_path, images, kind, first, second):
    check_resumed(tmp_path, images, kind, first, second)


def train(folder, *words):
    """In a process of its own."""
    environment = os.environ | {"PYTHONPATH": str(ROOT / "extension"), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run([sys.executable, "-m", "pivotal", "train", str(folder / "run.yaml"), "--data-dir", str(folder), *words],
                          capture_output=True, text=True, env=environment, timeout=300, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "features"), [
    ("embedding", ("masks", "schedule")), ("LoRA", ("Prodigy", "disk cache")), ("LoRA", ("bf16 weights", "EMA", "dropouts")),
    ("both", ("schedule-free", "several resolutions")), ("both", ("accumulation", "captions", "augmentation"))], ids=str)
def test_a_new_process_goes_on_to_the_byte(tmp_path, images, kind, features):
    rows = {} if kind == "LoRA" else {key: value for key, value in QUICK.items() if key.startswith("embeddings.")}
    flat = {**QUICK, **options_for(kind, *features), "dataset.folder": str(images), "checkpoint": "tiny"}
    flat = {key: value for key, value in flat.items() if not key.startswith("embeddings.")} | rows
    for name in ("whole", "parts"):
        write_tiny(tmp_path / name / "models/Stable-diffusion/tiny.safetensors")
        nested = {}
        for key, value in flat.items():
            if key.startswith("embeddings."):
                nested.setdefault("embeddings", [{}])[0][key.rpartition(".")[2]] = value
            else:
                section, _, option = key.rpartition(".")
                (nested.setdefault(section, {}) if section else nested)[option] = value
        (tmp_path / name / "run.yaml").write_text(yaml.safe_dump(nested), encoding="utf-8")
    train(tmp_path / "whole")
    train(tmp_path / "parts", "--stop-after-steps", "3")
    train(tmp_path / "parts", "--resume")
    assert results(tmp_path / "whole") == results(tmp_path / "parts") != {}


# Options on which what is learned depends, each with another value than its default, and what else that needs.
SEEDED = {
    "seed": 2, "batch.size": 3, "batch.accumulation": 2, "optimizer.learning_rate": 0.01, "optimizer.beta_1": 0.8,
    "optimizer.beta_2": 0.9, "optimizer.epsilon": 1e-3, "optimizer.kind": "adagrad", "optimizer.ema_decay": 0.5,
    "optimizer.clip_norm": 1e-9, "schedule.kind": "linear", "schedule.warmup": 3, "loss.kind": "l1", "loss.weighting": "min-snr",
    "loss.mix": "mse 0.5, l1 0.5", "noise.offset": 0.1, "noise.multires_iterations": 2, "noise.perturbation": 0.1,
    "noise.input_perturbation": 0.1, "timesteps.minimum": 200, "timesteps.maximum": 700, "timesteps.distribution": "sigmoid",
    "timesteps.shift": 2.0, "objective.clip_skip": 2, "objective.prediction": "v", "augment.flip": 0.5,
    "augment.brightness": {"augment.brightness": 0.3, "augment.versions": 2}, "caption.prefix": "photo of",
    "caption.shuffle": True, "caption.tag_dropout": 0.5,
    "caption.dropout": 0.5, "caption.wildcards": True, "caption.trigger_word": "thing", "cache.sampling": "mean",
    "dataset.resolution": "96", "dataset.repeats": 2, "mask.source": "files", "embeddings.0.token_count": 3,
    "embeddings.0.initial_text": "blue", "embeddings.0.preserve_norm": True, "precision.compute": "bf16",
}
# And on which only how it is computed, shown or kept.
UNSEEDED = {
    "samples.every_steps": 2, "samples.steps": 1, "save.every_steps": 3, "save.state_every_steps": 2, "measure.images": 2,
    "measure.every_steps": {"measure.every_steps": 2, "measure.images": 1},
    "sharing.let_prompts_through": True, "cache.latents": "disk", "guard.bad_step": "stop",
}


def tensors_of(folder, images, flat):
    from safetensors.torch import load_file

    finished(folder, images, "embedding", flat)
    return [tensor.numpy().tobytes() for tensor in load_file(folder / "embeddings/zkteal.safetensors").values()]


def changed_from(tmp_path, images, chosen):
    """Which of `chosen`, key -> value, give other vectors than the plain run."""
    plain = tensors_of(tmp_path / "plain", images, options_for("embedding"))
    return {key for key, value in chosen.items()
            if tensors_of(tmp_path / key, images, options_for("embedding") | (
                value if isinstance(value, dict) else {key: value})) != plain}


def test_the_same_recipe_is_the_same_file_and_some_options_change_it(tmp_path, images):
    flat = options_for("embedding")
    assert finished(tmp_path / "a", images, "embedding", flat) == finished(tmp_path / "b", images, "embedding", flat)
    seeded = dict(random.Random(1).sample(sorted(SEEDED.items()), 3))
    assert changed_from(tmp_path, images, seeded | {"guard.bad_step": "stop"}) == set(seeded)


@pytest.mark.slow
def test_every_option_that_counts_changes_what_is_learned_and_no_other_does(tmp_path, images):
    assert changed_from(tmp_path, images, SEEDED | UNSEEDED) == set(SEEDED)
