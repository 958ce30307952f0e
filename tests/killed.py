"""Kills a training process again and again, each time at another moment, and looks at what it left: ``killed.py FOLDER N SEED``.

A process that has loaded everything forks a child for each run, which is a hundred times faster than starting it anew. A
third of them is killed on a disk where flushing a file takes a while, so that many are killed while they write; a third on
a disk that fills up at some point of the run: a small one that is mounted where we may, else flushing says so. After the N, a
tenth as many runs on such a disk are not killed, but get room after a while. Each run is begun by the queue.
"""

from __future__ import annotations

import errno
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
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
from pivotal.jobs import saving
from pivotal.jobs.checks import plan
from pivotal.jobs.desk import Desk

SLOW = 0.06  # s for a file
KINDS = ("as it is", "slow", "full")  # of disks
RUN = {"name": "run", "embeddings.0.placeholder": "zkteal", "embeddings.0.initial_text": "green", "embeddings.0.token_count": 2,
       "network.method": "lora", "network.rank": 2, "targets.learning_rate": 1e-3, "optimizer.learning_rate": 0.02,
       "optimizer.ema_decay": 0.9, "batch.size": 2, "length.steps": 4, "measure.images": 0, "cache.latents": "disk",
       "save.every_steps": 2, "save.state_every_steps": 1, "save.bundle": False, "samples.every_steps": 2, "samples.steps": 1,
       "samples.prompts": ["zkteal"]}
STATE = "pivotal/runs/run/state.safetensors"
DONE, NO_ROOM, OTHERWISE = 0, 3, 4  # how a child ended
LARGE = 2**30


class Disk:
    """A folder with so much room: a file system of its own, or, where we may not mount one, flushes that fail."""

    def __init__(self, place: Path):
        self.place, self.size = place, LARGE
        place.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={LARGE}", "none", str(place)]
        may = sys.platform == "linux" and shutil.which("mount") is not None
        self.is_mounted = may and subprocess.run(command, capture_output=True, check=False).returncode == 0

    def resize(self, size: int) -> None:
        self.size = size
        if self.is_mounted:
            subprocess.run(["mount", "-o", f"remount,size={size}", str(self.place)], check=True)

    def limit_me(self) -> None:
        """In a child: the folder's room is that of its file beside it, since the parent may change it meanwhile."""
        plan.ROOM = 0  # what fills the disk came after the start
        saving.RETRY_SECONDS = 0.05
        if self.is_mounted:
            return
        real, told = os.fsync, self.place.with_suffix(".size")

        def fsync(handle: int) -> None:
            if used(self.place) > int(told.read_text()):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            real(handle)

        atomic.os.fsync = fsync

    def tell(self) -> None:
        """What children without a mount read."""
        atomic.write_text(self.place.with_suffix(".size"), str(self.size))

    def close(self) -> None:
        if self.is_mounted:
            subprocess.run(["umount", str(self.place)], check=True)
        shutil.rmtree(self.place)


def used(folder: Path) -> int:
    """Bytes on the disk."""
    return sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file())


def train(folder: Path, images: Path, resume: bool) -> int:
    desk = Desk(FakeHost(folder))
    desk.queue.begin(RUN | {"dataset.folder": str(images)}, resume=resume)
    view = desk.wait()
    desk.queue.worker.is_idle(30)
    if view.state == "finished":
        return DONE
    print(view.state, view.message, file=sys.stderr)
    return NO_ROOM if "disk is full" in view.message or "No space left" in view.message else OTHERWISE


def forked(work: Callable[[], int], *, killed_after: float | None = None, prepare: Callable[[], None] = lambda: None,
           meanwhile: Callable[[], None] | None = None) -> int:
    """`work` in a child; its exit status, negative when it was killed.

    Args:
        meanwhile: what happens after `killed_after` in place of a kill.
    """
    child = os.fork()
    if not child:
        try:
            prepare()
            os._exit(work())
        finally:
            os._exit(OTHERWISE + 1)
    end = None if killed_after is None else time.monotonic() + killed_after
    while True:
        ended, status = os.waitpid(child, 0 if end is None else os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() >= end:
            if meanwhile is None:
                os.kill(child, signal.SIGKILL)
            else:
                meanwhile()
            return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        time.sleep(0.002)


def slow_disk() -> None:
    real = os.fsync
    atomic.os.fsync = lambda handle: (time.sleep(SLOW), real(handle))


def results(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for place in ("embeddings", "models/Lora")
            for path in sorted((folder / place).rglob("*.safetensors"))}


def is_whole(found: dict[str, bytes], whole: dict[str, bytes], kind: str) -> bool:
    """Whether the files are those of the unbroken run; copies on the way may be missing where there was no room for them."""
    final = {name for name in whole if "-000" not in name}
    return found == whole or (kind == "full" and found.items() <= whole.items() and final <= found.keys())


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


def check_queue(folder: Path, states: set[str]) -> int:
    """The queue's file opens as it is, and its runs are in one of `states`; how many there are."""
    if not (folder / "pivotal/queue.sqlite").exists():
        return 0
    queue = Desk(FakeHost(folder)).queue
    queue.worker.recover()
    entries, count = queue.store.found()
    assert not queue.store.database.notice, queue.store.database.notice
    assert {entry.state for entry in entries} <= states, entries
    return count


def main(folder: Path, trials: int, seed: int) -> Counter:
    """Counts of what happened, over all trials; an AssertionError says what was wrong with one."""
    images, dice = write_dataset(folder / "images", 4), random.Random(seed)
    train(folder / "warm", images, False)  # loads what is loaded late
    spans = {}
    for kind, prepare in (("as it is", lambda: None), ("slow", slow_disk)):
        started = time.monotonic()
        assert forked(partial(train, folder / f"whole {kind}", images, False), prepare=prepare) == DONE
        spans[kind] = time.monotonic() - started
    spans["full"] = spans["as it is"]
    whole, size = results(folder / "whole slow"), used(folder / "whole slow")
    assert whole == results(folder / "whole as it is") and len(whole) > 3
    told = Counter(trials=trials)
    for number in range(trials + -(-trials // 10)):
        kind = KINDS[number % len(KINDS)] if number < trials else "full"
        disk = Disk(folder / "trial")
        try:
            room = int(size * dice.uniform(0.1, 1.1)) if kind == "full" else LARGE
            told += trial(disk, images, whole, kind, dice.random() * spans[kind], room, is_killed=number < trials)
        finally:
            disk.close()
    return told


def trial(disk: Disk, images: Path, whole: dict[str, bytes], kind: str, after: float, room: int, is_killed: bool) -> Counter:
    """One run that is killed `after` so many seconds, or gets room then, and goes on."""
    place, older = disk.place, {"embeddings/zkteal.safetensors": embedding_bytes([torch.ones(1, 32)], {})}
    for name, data in older.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(data)
    disk.resize(max(room, used(place) + 2**13))
    disk.tell()
    where = f"{kind} disk, {room} bytes, {'killed' if is_killed else 'room'} after {after:.3f} s"
    prepare = {"as it is": lambda: None, "slow": slow_disk, "full": disk.limit_me}[kind]
    status = forked(partial(train, place, images, False), killed_after=after, prepare=prepare,
                    meanwhile=None if is_killed else lambda: (disk.resize(LARGE), disk.tell()))
    assert status in ((DONE, NO_ROOM, -signal.SIGKILL) if kind == "full" else (DONE, -signal.SIGKILL)), (where, status)
    is_dead = status == -signal.SIGKILL
    told = Counter({"killed" if is_dead else "ended before" if is_killed else "room made": 1, f"killed, {kind}": is_dead,
                    "ended for want of room": status == NO_ROOM, "while writing": bool(leftovers(place))})
    told["files looked at"] = check_files(place, whole, older)
    disk.resize(LARGE)
    disk.tell()
    over = {"finished"} if not status or is_whole(results(place), whole, kind) else set()  # killed after its last word
    told["queues opened"] = check_queue(place, over | {"interrupted", "failed"}) > 0
    has_state = (place / STATE).is_file()
    if has_state:
        assert 0 < read_state(place / STATE).facts["progress"]["step"] <= RUN["length.steps"]
        told["with a state"] = 1
    assert forked(partial(train, place, images, has_state)) == DONE, f"it cannot go on: {where}"
    assert is_whole(results(place), whole, kind), f"it ends otherwise: {where}"
    assert not leftovers(place), (leftovers(place), where)
    assert check_queue(place, {"interrupted", "failed", "finished"}) > 0
    return told


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))))
