"""Kills a training process again and again, each time at another moment, and looks at what it left: ``killed.py FOLDER N SEED``.

A process that has loaded everything forks a child for each run, which is a hundred times faster than starting it anew. In
every second one flushing a file takes a while, as on a slow disk, so that many are killed while they write.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sys
import time
from collections import Counter
from functools import partial
from pathlib import Path

import torch
import yaml
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file

from fake_host import FakeHost, write_dataset
from pivotal.formats import atomic
from pivotal.formats.embedding_file import embedding_bytes
from pivotal.formats.state_file import read_state
from pivotal.jobs.checks.plan import make_plan
from pivotal.jobs.control import Control
from pivotal.jobs.desk import work_through

SLOW = 0.06  # s for a file
RUN = {"name": "run", "embeddings.0.placeholder": "zkteal", "embeddings.0.initial_text": "green", "embeddings.0.token_count": 2,
       "network.method": "lora", "network.rank": 2, "targets.learning_rate": 1e-3, "optimizer.learning_rate": 0.02,
       "optimizer.ema_decay": 0.9, "batch.size": 2, "length.steps": 4, "measure.images": 0, "cache.latents": "disk",
       "save.every_steps": 2, "save.state_every_steps": 1, "save.bundle": False, "samples.every_steps": 2, "samples.steps": 1,
       "samples.prompts": ["zkteal"]}
STATE = "pivotal/runs/run/state.safetensors"


def train(folder: Path, images: Path, resume: bool) -> bool:
    """One run, in this process; whether it ended well."""
    host = FakeHost(folder)
    plan = make_plan(RUN | {"dataset.folder": str(images)}, host, resume=resume)
    return work_through(plan, host, lambda _event: None, Control(patient=False)) is not None


def forked(work, *, killed_after: float | None = None, slow: bool = False) -> int:
    """`work` in a child; its exit status, negative when it was killed."""
    child = os.fork()
    if not child:
        if slow:
            real = os.fsync
            atomic.os.fsync = lambda handle: (time.sleep(SLOW), real(handle))
        os._exit(0 if work() else 1)
    end = None if killed_after is None else time.monotonic() + killed_after
    while True:
        ended, status = os.waitpid(child, 0 if end is None else os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() >= end:
            os.kill(child, signal.SIGKILL)
            return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        time.sleep(0.002)


def results(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for place in ("embeddings", "models/Lora")
            for path in sorted((folder / place).rglob("*.safetensors"))}


def leftovers(folder: Path) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.name.endswith(atomic.SUFFIX)]


def check_files(folder: Path, whole: dict[str, bytes], older: dict[str, bytes]) -> int:
    """Every file is whole, and those for the host are an old one or the one of the unbroken run; how many."""
    seen = 0
    for name, data in results(folder).items():
        assert data in (whole.get(name), older.get(name)), f"{name} is neither the old file nor the new one"
    for path in (path for path in folder.rglob("*") if path.is_file() and not path.name.endswith(atomic.SUFFIX)):
        seen += 1
        if path.suffix == ".safetensors":
            with safe_open(str(path), "pt") as file:
                assert len(list(file.keys())) == len(load_file(path))
        elif path.suffix == ".png":
            with Image.open(path) as image:
                image.load()
        elif path.suffix in (".json", ".yaml"):
            assert yaml.safe_load(path.read_text(encoding="utf-8")) is not None
        elif path.suffix == ".jsonl":  # written line by line: the last one may be cut
            for line in path.read_text(encoding="utf-8").split("\n")[:-1]:
                json.loads(line)
    return seen


def main(folder: Path, trials: int, seed: int) -> Counter:
    """Counts of what happened, over all trials; an AssertionError says what was wrong with one."""
    images, dice = write_dataset(folder / "images", 4), random.Random(seed)
    train(folder / "warm", images, False)  # loads what is loaded late
    spans = {}
    for slow in (False, True):
        started = time.monotonic()
        assert forked(partial(train, folder / f"whole-{slow}", images, False), slow=slow) == 0
        spans[slow] = time.monotonic() - started
    whole = results(folder / "whole-False")
    assert whole == results(folder / "whole-True") and len(whole) > 3
    told = Counter(trials=trials)
    for number in range(trials):
        slow = bool(number % 2)
        told += trial(folder / "trial", images, whole, slow, dice.random() * spans[slow])
        shutil.rmtree(folder / "trial")
    return told


def trial(place: Path, images: Path, whole: dict[str, bytes], slow: bool, after: float) -> Counter:
    """One run that is killed `after` so many seconds, and goes on."""
    older = {"embeddings/zkteal.safetensors": embedding_bytes([torch.ones(1, 32)], {})}
    for name, data in older.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(data)
    status = forked(partial(train, place, images, False), killed_after=after, slow=slow)
    assert status in (0, -signal.SIGKILL), status
    told = Counter({"killed" if status else "ended before": 1, "while writing": bool(leftovers(place))})
    told["files looked at"] = check_files(place, whole, older)
    has_state = (place / STATE).is_file()
    if has_state:
        assert 0 < read_state(place / STATE).facts["progress"]["step"] <= RUN["length.steps"]
        told["with a state"] = 1
    assert forked(partial(train, place, images, has_state)) == 0, f"killed after {after:.3f} s, it cannot go on"
    assert results(place) == whole, f"killed after {after:.3f} s, it ends otherwise"
    assert not leftovers(place), leftovers(place)
    return told


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))))
