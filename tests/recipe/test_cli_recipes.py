"""``presets``, ``import`` and ``train --preset`` as a script uses them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fake_host import write_dataset
from pivotal.cli import main
from pivotal.config.build import build
from pivotal.config.files import parse_run, read_run_file
from pivotal.config.presets import list_presets
from pivotal.config.train import TrainConfig
from tiny import write_tiny

FILES = Path(__file__).resolve().parents[1] / "unit" / "config" / "imports"


def test_presets_are_listed_and_printed_as_run_files(capsys, tmp_path):
    assert main(["presets", "--data-dir", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(list_presets()) and any(line.startswith("card-8gb ") for line in lines)
    assert main(["presets", "person-lora-sdxl", "--data-dir", str(tmp_path)]) == 0
    printed = parse_run(capsys.readouterr().out, "stdout")
    assert build(TrainConfig, {"dataset.folder": "a", **printed}) == build(
        TrainConfig, {"dataset.folder": "a", **list_presets()["person-lora-sdxl"].flat})  # fmt: skip
    assert main(["presets", "no-such", "--data-dir", str(tmp_path)]) == 2
    assert "no-such" in capsys.readouterr().err


def test_an_import_writes_a_run_file_and_says_what_it_left_out(capsys, tmp_path):
    target = tmp_path / "run.yaml"
    assert main(["import", str(FILES / "onetrainer_lora.json"), "-o", str(target)]) == 0
    told = capsys.readouterr().err
    assert "Not taken over: surprise = 1" in told and "Changed: ema_decay" in told and "Without meaning" not in told
    made = build(TrainConfig, read_run_file(target))
    assert made.embeddings[0].placeholder == "zkmara" and made.concepts[1].kind == "regularization"
    before = target.read_bytes()
    assert main(["import", str(FILES / "kohya_gui_ti.json"), "-o", str(target)]) == 2
    assert target.read_bytes() == before and "--replace" in capsys.readouterr().err
    assert main(["import", str(FILES / "kohya_gui_ti.json"), "-o", str(target), "--replace", "--all"]) == 0
    assert "Without meaning here: num_processes" in capsys.readouterr().err and target.read_bytes() != before
    assert main(["import", str(FILES / "onetrainer_lora.json"), "-o", str(target / "run.yaml")]) == 1  # in no folder
    assert "run.yaml cannot be written" in capsys.readouterr().err


def test_an_import_that_needs_mending_is_written_and_says_where(capsys):
    assert main(["import", str(FILES / "kohya_dataset.toml")]) == 1  # says what is trained on, and not what
    told = capsys.readouterr()
    assert "To be mended: embeddings" in told.err and "folder: D:/mara" in told.out
    assert main(["import", str(FILES / "kohya_scripts.toml"), str(FILES / "kohya_dataset.toml")]) == 0
    told = capsys.readouterr()
    assert "To be mended" not in told.err and "blocks.weights" in told.err and "folder: D:/mara" in told.out


@pytest.mark.parametrize("words", [["import", "no-such.json"], ["import", str(FILES / "test_imports.py")], ["presets", "--x"]])
def test_a_wrong_call_is_words(capsys, words):
    assert main(words) == 2
    assert len(capsys.readouterr().err) > 10


def test_a_run_with_presets_under_its_file(capsys, tmp_path):
    write_tiny(tmp_path / "data/models/Stable-diffusion/tiny.safetensors")
    folder = write_dataset(tmp_path / "images", 3)
    (tmp_path / "run.yaml").write_text(
        f"name: mara\ncheckpoint: tiny\ndataset: {{folder: '{folder.as_posix()}', resolution: 64}}\n"
        "embeddings: [{placeholder: zkteal}]\nlength: {steps: 2}\nsamples: {every_steps: 0}\nmeasure: {images: 0}\n",
        encoding="utf-8")  # fmt: skip
    words = ["train", str(tmp_path / "run.yaml"), "--data-dir", str(tmp_path / "data"), "--json",
             "--preset", "person-pivotal-sd", "--preset", "card-6gb", "--network.rank", "2"]  # fmt: skip
    assert main(words) == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert told["state"] == "finished" and told["steps"] == 2  # the file's two, not the preset's 1500
    made = build(TrainConfig, read_run_file(tmp_path / "data/pivotal/runs/mara/run.yaml"))
    assert (made.network.method, made.network.rank, made.pivot.order) == ("lora", 2, "embeddings first")
    assert (made.batch.size, made.batch.accumulation, made.precision.gradient_checkpointing) == (1, 4, True)  # the card's
    assert made.embeddings[0].token_count == 4 and made.embeddings[0].placeholder == "zkteal"
    assert main([*words[:5], "--preset", "no-such"]) == 2
