"""What a run costs beside the bare model's loop: run me, I print ratios that were measured in one process.

    OMP_NUM_THREADS=1 python tests/benchmarks/steps.py [--rounds 40] [--full] [--compute auto] [--images needed]

Ours is a whole run, as the page starts it: with its progress, events, journal, checks of Stop and files. After each of its steps
it waits for two steps of the bare loop (bare.py), so each quotient is of two steps that follow one another; that of the bare
loop's two is the control: how far equal work differs on this machine. CPU seconds, for other work on the machine is in the
others. --full takes the sizes of Stable Diffusion 1.5 with random weights at 256 px, and 8 GB.
Memory is measured in a process for each of the two (Linux): the highest that the process had from the first step on. Where ours
computes in bf16, the bare loop does so, too, beside the host's model in fp32, which is the host's and stays.
"""

from __future__ import annotations

import argparse
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "extension"))

from bare import FULL, RANK, RATE, SMALL, VECTORS, Bare

from fake_host import FakeHost
from pivotal.events import Event, Finished, StepDone
from pivotal.jobs.checks.plan import make_plan
from pivotal.jobs.control import Control
from pivotal.jobs.desk import work_through
from pivotal.models.build import build_model
from pivotal.models.lend import lend
from pivotal.training.precision import with_bf16
from tiny import _tensors, tokenizer, vae_shapes

KINDS = {"LoRA": (True, False), "embedding": (False, True), "both": (True, True)}
WARM = 3  # steps that do not count


class Times:
    """An `emit` that notes CPU and wall seconds of each step, and lets the bare loop make two after each."""

    def __init__(self, bare: Bare | None):
        self.bare = bare
        self.ours: list[tuple[float, float]] = []
        self.theirs: list[tuple[float, float]] = []
        self.again: list[tuple[float, float]] = []  # the second of the bare loop's
        self.to_first = self.to_files = 0.0
        self._last = self._now()

    @staticmethod
    def _now() -> tuple[float, float]:
        return time.process_time(), time.perf_counter()

    def __call__(self, event: Event) -> None:
        took = tuple(now - last for now, last in zip(self._now(), self._last, strict=True))
        if isinstance(event, StepDone):
            self.to_first = self.to_first or took[0]
            self.ours.append(took)
            if self.bare is not None:
                self.theirs.append(self._of_bare())
                self.again.append(self._of_bare())
            self._last = self._now()
        elif isinstance(event, Finished):
            self.to_files = took[0]

    def _of_bare(self) -> tuple[float, float]:
        began = self._now()
        with self.bare.attached():
            self.bare.step()
        return tuple(now - last for now, last in zip(self._now(), began, strict=True))


def make_host(folder: Path, full: bool) -> FakeHost:
    """A host with a model of those sizes loaded."""
    host = FakeHost(folder)
    shape = FULL if full else SMALL
    tensors = _tensors("sd1", shape, 0)
    for name, size in vae_shapes(shape.vae, layers=2).items():  # tests have one layer a level
        tensors["first_stage_model." + name] = torch.randn(size) / max(1, math.prod(size[1:])) ** 0.5
    host.model = build_model(tensors, tokenizer=tokenizer(), resolution=256 if full else 64)
    return host


def write_images(folder: Path, side: int, caption: str) -> Path:
    """Pictures with captions, few enough to be encoded before the steps that count."""
    folder.mkdir()
    for number in range(WARM):
        (folder / f"{number}.txt").write_text(caption, encoding="utf-8")
        pixels = np.random.default_rng(number).integers(0, 255, (side, side, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return folder


def options(kind: str, images: Path, steps: int, given: argparse.Namespace) -> dict[str, object]:
    """The run of that kind."""
    lora, embedding = KINDS[kind]
    flat = {"name": "run", "dataset.folder": str(images / ("zk" if embedding else "red")),
            "dataset.resolution": "256" if given.full else "64", "length.steps": steps, "batch.size": 1,
            "measure.images": 0, "samples.every_steps": 0, "optimizer.learning_rate": RATE,
            "precision.compute": given.compute, "cache.when": "as needed" if given.images == "needed" else "before"}
    if lora:
        flat |= {"network.method": "lora", "network.rank": RANK, "network.alpha": RANK, "targets.learning_rate": RATE}
    if embedding:
        flat |= {"embeddings.0.placeholder": "zk", "embeddings.0.token_count": VECTORS, "embeddings.0.initial_text": "red"}
    return flat


def run(kind: str, host: FakeHost, images: Path, steps: int, given: argparse.Namespace, bare: Bare | None) -> Times:
    """Carries out a run; its times."""
    times = Times(bare)
    plan = make_plan(options(kind, images, steps, given), host)
    work_through(plan, host, times, Control(patient=False))
    return times


def line(kind: str, host: FakeHost, images: Path, given: argparse.Namespace) -> str:
    """One line of the table."""
    lora, embedding = KINDS[kind]
    bare = Bare(host.model, 32 if given.full else 8, lora=lora, embedding=embedding)
    times = run(kind, host, images, given.rounds + WARM, given, bare)
    ours, theirs, again = times.ours[WARM:], times.theirs[WARM:], times.again[WARM:]
    cpu, wall = (sorted(a[which] / b[which] for a, b in zip(ours, theirs, strict=True)) for which in (0, 1))
    control = sorted(a[0] / b[0] for a, b in zip(again, theirs, strict=True))
    even = [statistics.mean(step[0] for step in steps) / statistics.median(step[0] for step in steps) for steps in (ours, theirs)]
    return (f"{kind:10} {statistics.median(b[0] for b in theirs) * 1000:9.1f} {statistics.median(a[0] for a in ours) * 1000:9.1f}"
            f" {_quartiles(cpu)} {_quartiles(control)}"
            f" {statistics.median(wall):6.3f} {even[1]:6.3f} {even[0]:6.3f} {times.to_first:8.2f} {times.to_files:7.2f}")


def _quartiles(ratios: list[float]) -> str:
    """The median of sorted `ratios`, and between what half of them lie."""
    return f"{statistics.median(ratios):6.3f}  {ratios[len(ratios) // 4]:.3f} .. {ratios[-1 - len(ratios) // 4]:.3f}"


def peak(work: Callable[[], None]) -> tuple[int, int]:
    """MB that the process has before `work`, and at most while it lasts."""
    status = Path("/proc/self/status")
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # sets the highest back to what is there now
    first = _field(status, "VmRSS")
    work()
    return first, _field(status, "VmHWM")


def _field(status: Path, name: str) -> int:
    (line,) = [line for line in status.read_text(encoding="ascii").splitlines() if line.startswith(name)]
    return int(line.split()[1]) // 1024


def memory(which: str, kind: str, host: FakeHost, images: Path, given: argparse.Namespace) -> str:
    """`which` program's memory, in a process of its own."""
    steps = 4

    def bare() -> None:
        lora, embedding = KINDS[kind]
        with lend([host.model.unet]):
            loop = Bare(with_bf16(host.model, given.compute), 32 if given.full else 8, lora=lora, embedding=embedding)
            with loop.attached():
                for _ in range(steps):
                    loop.step()

    first, highest = peak(bare if which == "bare" else lambda: run(kind, host, images, steps, given, None) and None)
    return f"{which:5} {first:6} {highest:6} {highest - first:6}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--full", action="store_true", help="the sizes of SD 1.5")
    parser.add_argument("--compute", default="auto")
    parser.add_argument("--images", choices=("before", "needed"), default="before", help="when they are encoded")
    parser.add_argument("--kind", choices=tuple(KINDS), help="only this one")
    parser.add_argument("--memory", choices=("bare", "ours", "both"), help="in place of the times")
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.memory == "both":
        print("MB    before   most  added", flush=True)
        for which in ("bare", "ours"):
            words = [word for word in sys.argv[1:] if word not in ("--memory", "both")]
            subprocess.run([sys.executable, __file__, *words, "--memory", which], check=True, env=os.environ)
        return
    with tempfile.TemporaryDirectory() as scratch:
        images = Path(scratch)
        for word in ("zk", "red"):
            write_images(images / word, 256 if given.full else 64, f"a {word} circle")
        host = make_host(Path(scratch) / "host", given.full)
        if given.memory:
            print(memory(given.memory, given.kind or "LoRA", host, images, given), flush=True)
            return
        print("           bare ms   ours ms  ratio  quartiles       control quartiles     wall   mean/median   to first to files")
        print("                                                                                 bare   ours     s CPU    s CPU")
        for kind in [given.kind] if given.kind else KINDS:
            print(line(kind, host, images, given), flush=True)


if __name__ == "__main__":
    main()
