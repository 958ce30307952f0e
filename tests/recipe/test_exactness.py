"""A run that was stopped anywhere ends as one that was not, to the byte; the same recipe is the same file, another is not.

The suite tries a few combinations; `pytest -m slow` all features by every kind of run, more combinations, drawn from a seed,
and resuming in a process of its own.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file

from fake_host import FakeHost, write_dataset
from pivotal.config.build import draft
from pivotal.config.options import walk
from pivotal.config.train import TrainConfig
from pivotal.errors import OptionError
from pivotal.events import Failed, Finished
from recipe.changed_options import ELSEWHERE, SEEDED, SHOWN
from runs import QUICK, carry_out
from tiny import write_tiny

pytestmark = pytest.mark.once

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


def learned(folder, images, flat):
    """All tensors of the results, whichever files they are in."""
    finished(folder, images, "both", flat)
    files = [folder / "models/Lora/run.safetensors", *(folder / "embeddings").glob("zkteal.safetensors")]
    return sorted((name, str(tensor.dtype), tensor.shape, tensor.to(torch.float64).numpy().tobytes())
                  for path in files if path.exists() for name, tensor in load_file(path).items())


@pytest.fixture(scope="module")
def pictures(images):
    """As `images`, with captions that have something for each option to change."""
    folder = images.parent / "pictures"
    shutil.copytree(images, folder)
    for index, path in enumerate(sorted(folder.glob("*[0-9].png"))):
        long = ", tag" * 90 if index == 0 else ""
        path.with_suffix(".txt").write_text(f"a zkteal circle ||| tag {index}, {{red|blue}} (ground:1.4){long}\na zkteal {index}",
                                            encoding="utf-8")
        path.with_suffix(".caption").write_text(f"zkteal {index}", encoding="utf-8")
    for path in folder.glob("*-masklabel.png"):
        with Image.open(path) as image:
            image.paste(0, (image.width // 2, 0, image.width, image.height))  # something to cut away
            image.save(path)
    more = folder / "more"
    more.mkdir()
    for path in folder.glob("00*.*"):
        shutil.copy(path, more / path.name)
    for name in "ab":
        (images.parent / f"{name}.txt").write_text(f"zkteal {name}\na zkteal", encoding="utf-8")
    return folder


def base_options():
    return QUICK | KINDS["both"] | {"measure.images": 0, "length.steps": 4, "save.precision": "fp16"}


class Changed:
    """Runs with an option changed, and without; what both have beside it is run once."""

    def __init__(self, folder, images):
        self.folder, self.images, self._before = folder, images, {}

    def options(self, *parts):
        flat = base_options()
        for part in parts:
            flat |= {key: str(value).replace("{lists}", self.images.parent.as_posix()) if "{lists}" in str(value) else value
                     for key, value in part.items()}
        return flat

    def by(self, key, told):
        value, beside = told if isinstance(told, tuple) else (told, {})
        return self.differs(key, {key: value}, beside)

    def differs(self, name, chosen, beside):
        before = str(sorted(beside.items()))
        if before not in self._before:
            folder = self.folder / f"before {len(self._before)}"
            self._before[before] = learned(folder, self.images, self.options(beside))
        return learned(self.folder / name, self.images, self.options(beside, chosen)) != self._before[before]


def test_the_same_recipe_is_the_same_file_and_some_options_change_it(tmp_path, pictures):
    flat = base_options()
    assert finished(tmp_path / "a", pictures, "both", flat) == finished(tmp_path / "b", pictures, "both", flat)
    changed = Changed(tmp_path, pictures)
    for key, told in random.Random(3).sample(sorted(SEEDED.items()), 3):
        assert changed.by(key, told), key
    assert not changed.differs("stop", {"guard.bad_step": "stop"}, {})


@pytest.mark.slow
def test_every_option_that_counts_changes_what_is_learned_and_no_other_does(tmp_path, pictures, figures):
    changed, wrong = Changed(tmp_path, pictures), []
    for key, told in SEEDED.items():
        try:
            wrong += [] if changed.by(key, told) else [key]
        except (OptionError, AssertionError) as error:  # the others are to be heard of, too
            wrong.append(f"{key}: {error}")
    assert wrong == []
    assert [chosen for number, (chosen, beside) in enumerate(SHOWN) if changed.differs(f"shown {number}", chosen, beside)] == []
    figures("seeded", {"changed": len(SEEDED), "same": len({key for chosen, _ in SHOWN for key in chosen})})


@pytest.mark.slow
def test_no_option_is_forgotten():
    tried = {*SEEDED, *ELSEWHERE, *(key for chosen, _ in SHOWN for key in chosen)}
    assert {option.key for option in walk(TrainConfig)} - tried == set()


def test_each_value_that_is_tried_can_stand_where_it_is_tried(tmp_path, pictures):
    changed = Changed(tmp_path, pictures)
    wrong = {}
    for key, told in SEEDED.items():
        value, beside = told if isinstance(told, tuple) else (told, {})
        wrong[key] = draft(TrainConfig, changed.options(beside, {key: value}) | {"dataset.folder": str(pictures)})[1]
    assert {key: problems for key, problems in wrong.items() if problems} == {}
