"""``python -m pivotal train`` as a script uses it: over processes where they are the point, else in this one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fake_host import write_dataset
from pivotal.cli import main
from pivotal.formats.embedding_file import read_embedding
from tiny import write_tiny

ROOT = Path(__file__).resolve().parents[2]
RUN = """
name: first run
checkpoint: tiny
dataset: {folder: IMAGES}
embeddings:
  - {placeholder: zkteal, token_count: 2, initial_text: green, learning_rate: 2e-2}
length: {steps: 12}
batch: {size: 2}
samples: {every_steps: 6, steps: 2}
save: {every_steps: 6, state_every_steps: 4}
measure: {images: 2}
seed: 3
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cli")
    write_tiny(folder / "data/models/Stable-diffusion/tiny.safetensors")
    write_tiny(folder / "other/models/Stable-diffusion/tiny.safetensors")
    write_dataset(folder / "images")
    (folder / "run.yaml").write_text(RUN.replace("IMAGES", "images"), encoding="utf-8")
    return folder


def arguments(folder: Path, *words: str, data: str = "data") -> list[str]:
    return ["train", str(folder / "run.yaml"), "--data-dir", str(folder / data), *words]


def started(folder: Path, *words: str, data: str = "data") -> subprocess.CompletedProcess:
    """In a process of its own."""
    environment = os.environ | {"PYTHONPATH": str(ROOT / "extension"), "PYTHONUTF8": "0"}
    return subprocess.run([sys.executable, "-m", "pivotal", *arguments(folder, *words, data=data)], capture_output=True,
                          text=True, env=environment, timeout=300, check=False)


@pytest.fixture
def train(place, capsys):
    """In this process: its exit code, stdout and stderr."""
    handlers = {wanted: signal.getsignal(wanted) for wanted in (signal.SIGINT, signal.SIGTERM)}

    def run(*words: str, data: str = "data") -> tuple[int, str, str]:
        capsys.readouterr()
        code = main(arguments(place, *words, data=data))
        return code, *capsys.readouterr()

    yield run
    for wanted, handler in handlers.items():
        signal.signal(wanted, handler)


def test_a_run_ends_with_one_json_object_and_its_files(place):
    done = started(place, "--json")
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    told = json.loads(line)
    path = place / "data/embeddings/zkteal.safetensors"
    assert told["state"] == "finished" and told["steps"] == 12 and told["files"] == [str(path)]
    assert [step for step, _, _ in told["losses"]] == list(range(1, 13)) and told["seconds"] > 0
    assert set(told["metrics"]) == {"error_before", "error_after"}
    assert read_embedding(path, 1)[0].shape == (2, 32)
    assert len(list((place / "data/pivotal/runs/first run/samples").iterdir())) == 6
    events = (place / "data/pivotal/runs/first run/events.jsonl").read_text(encoding="utf-8").splitlines()
    assert sum(json.loads(event)["event"] == "StepDone" for event in events) == 12


@pytest.mark.once
def test_a_run_stopped_in_one_process_and_resumed_in_another_gives_the_same_bytes(place, train):
    whole = place / "data/embeddings/zkteal.safetensors"
    if not whole.exists():
        assert train()[0] == 0
    stopped = started(place, "--json", "--stop-after-steps", "5", data="other")
    assert stopped.returncode == 0 and json.loads(stopped.stdout)["steps"] == 5
    assert json.loads(stopped.stdout)["state"] == "stopped"
    parts = place / "other/embeddings/zkteal.safetensors"
    assert parts.read_bytes() != whole.read_bytes()
    assert train("--resume", data="other")[0] == 0
    assert parts.read_bytes() == whole.read_bytes()


def test_a_run_file_with_problems_ends_with_2_and_each_under_its_key(place, train):
    code, told, errors = train("--optimizer.learning-rate", "abc", "--embeddings.0.placeholder", "cat", "--foo.bar=3",
                               "--checkpoint", "none", "--dataset.folder", str(place / "nowhere"))
    assert (code, told) == (2, "")
    keys = {line.partition(":")[0] for line in errors.splitlines()}
    assert {"optimizer.learning_rate", "embeddings.0.placeholder", "foo.bar", "checkpoint", "dataset.folder"} <= keys


@pytest.mark.parametrize(("words", "told"), [
    (["webui", "--nonsense"], "--nonsense: is no flag of webui; see install.py webui --help"),
    (["strings", "more"], "more: is no flag of strings"),
    (["queue", "work", "--nonsense"], "--nonsense: is no flag of queue work"),
])
def test_a_flag_that_is_none_ends_with_2(words, told, capsys):
    assert main(words) == 2 and told in capsys.readouterr().err


@pytest.mark.parametrize("given", ["", "anna", "anna:", ":word", "anna:word,", "anna:word,bert"])
def test_a_login_that_is_none_does_not_leave_the_page_open_to_everybody(given, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["webui", "--listen", "--gradio-auth", given])
    error = capsys.readouterr().err
    assert ended.value.code == 2 and "--gradio-auth: needs a name, a colon and a password" in error
    assert "anna" not in error, "nor is what may be a password shown"


def test_a_plan_is_printed_and_nothing_is_trained(place, train):
    code, told, errors = train("--plan", "--dataset.repeats", "2", "--name", "planned only")
    assert code == 0, errors
    assert "6 images x 2 repeats / batch 2 / accumulation 1 = 6 steps an epoch; 12 steps are 2 epochs" in told
    assert "Disk: " in told and "How long it takes is not known yet" in told
    assert not (place / "data/pivotal/runs/planned only/run.yaml").exists()
    told = json.loads(train("--plan", "--measure", "--json", "--name", "planned only")[1])
    assert told["steps"] == 12 and told["seconds"]["total"] > told["seconds"]["step"] > 0 and told["measured"]["fits"]
    assert not (place / "data/pivotal/runs/planned only/run.yaml").exists()
    assert train("--plan", "--dataset.folder", "nowhere")[0] == 2
