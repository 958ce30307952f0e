"""The queue with real runs on a tiny checkpoint: over processes, and as the command line works it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fake_host import FakeHost, write_dataset
from pivotal.cli import main
from pivotal.formats.embedding_file import read_embedding
from pivotal.jobs.desk import Desk
from runs import QUICK
from tiny import write_tiny

ROOT = Path(__file__).resolve().parents[2]
RUN = """
name: "{folder}"
checkpoint: tiny
dataset: {folder: images, captions: object}
embeddings:
  - {placeholder: "zk{folder}", token_count: 2, initial_text: green, learning_rate: 2e-2}
length: {steps: 3}
batch: {size: 2}
samples: {every_steps: 0}
measure: {images: 0}
"""
# A process that begins a long run through the queue, tells so, and waits to be killed.
BEGINS = """
import sys
from pathlib import Path
from fake_host import FakeHost
from pivotal.jobs.desk import Desk
from runs import QUICK
desk = Desk(FakeHost(Path(sys.argv[1])))
flat = QUICK | {"dataset.folder": sys.argv[2], "length.steps": 100000, "save.state_every_steps": 2, "measure.images": 0}
desk.queue.train(flat)
desk.queue.add([flat | {"name": "second", "length.steps": 2}])
while desk.view().step < 5:
    desk.wait(0.05)
print("runs", flush=True)
desk.wait()
"""


def environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT / "extension"), str(ROOT / "tests")])}


@pytest.fixture
def queue(place, capsys, monkeypatch):
    """`install.py queue ...` in this process: its exit code, and what it printed."""
    monkeypatch.chdir(place)
    handlers = {wanted: signal.getsignal(wanted) for wanted in (signal.SIGINT, signal.SIGTERM)}

    def run(*words: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main(["queue", *words, "--data-dir", str(place / "data")])
        return code, *capsys.readouterr()

    yield run
    for wanted, handler in handlers.items():
        signal.signal(wanted, handler)


def listed(queue) -> dict[str, dict]:
    return {run["name"]: run for run in map(json.loads, queue("list", "--json")[1].splitlines())}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("queue")
    write_tiny(folder / "data/models/Stable-diffusion/tiny.safetensors")
    for name in ("anna", "ben"):
        write_dataset(folder / "people" / name, 2)
    (folder / "run.yaml").write_text(RUN, encoding="utf-8")
    return folder


def test_one_recipe_is_added_for_each_folder_and_worked_until_none_waits(place, queue):
    code, told, errors = queue("add", "run.yaml", "--over", "people")
    assert code == 0 and len(told.splitlines()) == 2, errors
    assert {name: run["state"] for name, run in listed(queue).items()} == {"anna": "waiting", "ben": "waiting"}
    code, told, errors = queue("work")
    assert code == 0 and [line.split()[1] for line in told.splitlines()] == ["finished", "finished"], errors
    for name in ("anna", "ben"):
        path = place / f"data/embeddings/zk{name}.safetensors"
        assert read_embedding(path, 1)[0].shape == (2, 32)
        run = listed(queue)[name]
        assert (run["state"], run["step"], run["files"]) == ("finished", 3, [str(path)])
    assert queue("work")[:2] == (0, ""), "nothing waits"


def test_a_failure_in_the_middle_ends_with_code_1_and_the_others_are_carried_out(place, queue):
    for name in ("carl", "dora", "emil"):
        write_dataset(place / "more" / name, 2)
    assert queue("add", "run.yaml", "--over", "more")[0] == 0
    for image in (place / "more" / "dora").iterdir():
        image.unlink()
    assert queue("work")[0] == 1
    states = {name: listed(queue)[name]["state"] for name in ("carl", "dora", "emil")}
    assert states == {"carl": "finished", "dora": "failed", "emil": "finished"}


def test_problems_of_a_run_file_are_told_by_key(place, queue):
    (place / "bad.yaml").write_text("name: bad\nseed: x\n", encoding="utf-8")
    code, _, errors = queue("add", "bad.yaml")
    assert code == 2 and "seed: expected a whole number" in errors
    assert "bad" not in listed(queue)
    assert queue("add", "run.yaml", "--nonsense")[0] == 2


@pytest.mark.once
@pytest.mark.skipif(os.name == "nt", reason="Windows sends a Ctrl-C to the whole console, this test with it")
def test_ctrl_c_keeps_the_run_for_later_and_leaves_the_rest_waiting(place, queue):
    for name in ("fritz", "gert"):
        write_dataset(place / "long" / name, 2)
    (place / "long.yaml").write_text(RUN.replace("steps: 3", "steps: 100000"), encoding="utf-8")
    assert queue("add", "long.yaml", "--over", "long")[0] == 0
    worker = subprocess.Popen([sys.executable, "-m", "pivotal", "queue", "work", "--data-dir", str(place / "data")],
                              env=environment(), stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    for line in worker.stderr:
        if "Training on" in line:
            break
    worker.send_signal(signal.SIGINT)
    worker.communicate(timeout=300)
    runs = listed(queue)
    assert (worker.returncode, runs["fritz"]["state"], runs["gert"]["state"]) == (1, "interrupted", "waiting")


@pytest.mark.once
def test_a_run_of_a_killed_process_is_found_and_goes_on_from_its_state(tmp_path):
    folder = write_dataset(tmp_path / "images", 2)
    process = subprocess.Popen([sys.executable, "-c", BEGINS, str(tmp_path / "data"), str(folder)], stdout=subprocess.PIPE,
                               text=True, env=environment())
    try:
        assert process.stdout.readline().strip() == "runs"
        desk = Desk(FakeHost(tmp_path / "data"))
        desk.queue.recover()
        assert [(run.name, run.state) for run in desk.queue.store.open_runs()] == [("run", "running"), ("second", "waiting")]
    finally:
        process.kill()
        process.communicate()
    desk.queue.recover()
    (left,) = [run for run in desk.queue.store.found()[0] if run.state == "interrupted"]
    assert left.name == QUICK["name"] and left.step >= 5 and left.loss is not None
    desk.queue.store.change(left.id, options={**left.options, "length.steps": left.step + 20})
    desk.queue.retry(left.id)
    deadline = time.monotonic() + 300
    while not desk.queue.worker.is_idle(0.05):
        assert time.monotonic() < deadline
    states = {run.name: run for run in desk.queue.store.found()[0]}
    assert states["run"].state == "finished" and states["run"].step == left.step + 20, states["run"].message
    assert any("resumed at step" in line for line in states["run"].log)
    assert states["second"].state == "waiting", "only what was asked for"
