"""One run on several processes (gloo, on the CPU), each with its own Python, as a launcher starts them."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import redirect_stdout
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from fake_host import FakeHost, write_dataset
from pivotal.cli import main
from pivotal.config.build import flat_from_nested
from pivotal.errors import OptionError
from pivotal.formats.state_file import read_state
from pivotal.jobs.checks.plan import make_plan
from pivotal.jobs.launched import shared
from pivotal.training.ranks import Alone
from tiny import write_tiny

pytestmark = pytest.mark.once

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = str(ROOT / "extension" / "train.py")
RUN = """
name: together
dataset: {folder: images, resolution: 64}
embeddings:
  - {placeholder: zkteal, token_count: 2, initial_text: green, learning_rate: 2e-2}
network: {method: lora, rank: 4, alpha: 4, dropout: 0.1}
targets: {learning_rate: 0.002}
caption: {shuffle: true}
length: {steps: 20}
batch: {size: 1, accumulation: 4}
samples: {every_steps: 10, steps: 1}
save: {state_every_steps: 5}
measure: {images: 2}
seed: 3
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranks")
    write_dataset(folder / "images", 5)
    (folder / "run.yaml").write_text(RUN, encoding="utf-8")
    return folder


def command(place: Path, data: str, processes: int, *words: str) -> list[str]:
    target = place / data / "models/Stable-diffusion/tiny.safetensors"
    if not target.is_file():
        write_tiny(target)
    launcher = [] if processes == 1 else ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
    return [sys.executable, *launcher, SCRIPT, str(place / "run.yaml"), "--data-dir", str(place / data), *words]


def environment() -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if key not in ("RANK", "WORLD_SIZE", "LOCAL_RANK")}
    return {**kept, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}


def train(place: Path, data: str, processes: int, *words: str) -> dict:
    done = subprocess.run(command(place, data, processes, "--json", *words), capture_output=True, text=True, timeout=300,
                          env=environment(), check=False)
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("{")]  # of the first process alone
    return json.loads(line)


def trained_here(place: Path, data: str, *words: str) -> dict:
    """In this process, on the CPU as the others."""
    handlers = {wanted: signal.getsignal(wanted) for wanted in (signal.SIGINT, signal.SIGTERM)}
    try:
        with pytest.MonkeyPatch.context() as patch, redirect_stdout(io.StringIO()) as told:
            patch.setattr(torch.cuda, "is_available", lambda: False)
            assert main(["train", *command(place, data, 1, "--json", *words)[2:]]) == 0
    finally:
        for wanted, handler in handlers.items():
            signal.signal(wanted, handler)
    return json.loads(told.getvalue())


def files_in(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def losses_of(data: Path) -> dict[str, list[float]]:
    """Image -> times seen, loss, and loss over that of its timesteps."""
    with (data / "pivotal/runs/together/loss_by_image.csv").open(encoding="utf-8", newline="") as file:
        return {row["image"]: [float(row[key]) for key in ("times", "loss", "relative")] for row in csv.DictReader(file)}


@pytest.fixture(scope="module")
def alone(place):
    return trained_here(place, "one")


def assert_curve(told: dict, alone: dict, steps: range) -> None:
    """`told` is of these steps, and its losses are those of the run that went through all of them in one process."""
    assert [step for step, _, _ in told["losses"]] == list(steps)
    ours, theirs = (torch.tensor([loss for step, loss, _ in one["losses"] if step in steps]) for one in (told, alone))
    assert torch.allclose(ours, theirs, rtol=1e-5, atol=1e-7)


def assert_alike(place: Path, told: dict, alone: dict, data: str) -> None:
    assert_curve(told, alone, range(1, 21))
    first, second = (load_file(place / folder / "models/Lora/together.safetensors") for folder in (data, "one"))
    assert first.keys() == second.keys()
    assert all(torch.allclose(first[key].float(), second[key].float(), atol=2e-3) for key in first)  # fp16 in the file


def test_two_processes_give_the_curve_and_the_files_of_one(place, alone):
    told = train(place, "two", 2)
    assert_alike(place, told, alone, "two")
    assert files_in(place / "two") == files_in(place / "one")  # nothing is written twice, and nothing elsewhere
    ours, theirs = (losses_of(place / folder) for folder in ("two", "one"))  # those of the other process's share, too
    assert ours.keys() == theirs.keys() and all(ours[name] == pytest.approx(theirs[name], rel=1e-4) for name in ours)
    assert told["metrics"]["error_after"] == pytest.approx(alone["metrics"]["error_after"], rel=1e-4)


@pytest.mark.slow
def test_four_processes_do_so_too(place, alone):
    assert_alike(place, train(place, "four", 4), alone, "four")


@pytest.mark.slow
@pytest.mark.parametrize(("first", "then"), [(2, 1), (1, 2)])
def test_a_run_goes_on_with_another_number_of_processes(place, alone, first, then):
    train(place, f"from{first}", first, "--stop-after-steps", "7")
    assert_curve(train(place, f"from{first}", then, "--resume"), alone, range(8, 21))


def test_batches_that_cannot_be_shared_are_told(place, tmp_path):
    class Second(Alone):
        index, count = 1, 2

    flat = flat_from_nested(yaml.safe_load(RUN)) | {"dataset.folder": str(place / "images"), "batch.accumulation": 3}
    host = FakeHost(tmp_path)
    plan = make_plan(flat, host)
    with pytest.raises(OptionError) as refused, shared(plan, host, Second()):
        pass
    assert "3 batches, which 2 processes cannot share evenly" in refused.value.problems["batch.accumulation"]


@pytest.mark.skipif(sys.platform != "linux", reason="finds the process to kill in /proc")
def test_a_dead_process_ends_all_with_a_sentence_and_one_alone_goes_on_to_the_same_curve(place):
    long = ("--length.steps", "100000", "--samples.every_steps", "0", "--measure.images", "0")
    with subprocess.Popen(command(place, "dead", 2, *long), env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                          text=True) as running:
        state = place / "dead/pivotal/runs/together/state.safetensors"
        for _ in range(3000):  # two interpreters that start on a busy machine
            if state.is_file():
                break
            time.sleep(0.1)
        assert state.is_file()
        second = next(pid for pid in children_of(running.pid) if "RANK=1" in environment_of(pid))
        os.kill(second, signal.SIGKILL)
        told = running.communicate(timeout=300)[1]
    assert running.returncode != 0
    assert "Another process of this run has ended" in told or "Stopping after this step" in told
    kept = read_state(state).facts["progress"]["step"]
    ends = ("--stop-after-steps", str(kept + 3))
    assert_curve(trained_here(place, "dead", *long, *ends, "--resume"), trained_here(place, "whole", *long, *ends),
                 range(kept + 1, kept + 4))


def children_of(pid: int) -> list[int]:
    text = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=True).stdout
    return [int(word) for word in text.split()]


def environment_of(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace").split("\0")
