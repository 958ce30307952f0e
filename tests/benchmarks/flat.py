"""Whether a step costs the same with many images, with many embeddings and after many steps: run me, I print a table.

    OMP_NUM_THREADS=1 python tests/benchmarks/flat.py [--rounds 200]

Two of each kind take turns in one process; CPU milliseconds, medians. What images cost is measured without the model: finding the
next batch, its latents and its words, of a dataset whose latents are in memory and whose captions all differ. For steps that are
done it is also told what the page's view of the run costs for each.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "extension"))

from bare import SMALL, VECTORS

from pivotal.config.sections.caption import Caption
from pivotal.config.sections.training import Optimizer
from pivotal.data.captions import Captions
from pivotal.data.concepts import Concept
from pivotal.data.encoding import Encoded
from pivotal.data.folder import Item
from pivotal.data.latent_cache import Memory
from pivotal.data.latents import ImageStore
from pivotal.data.order import Order
from pivotal.data.versions import StoreSettings, Versions
from pivotal.data.view import Fit, View
from pivotal.embeddings.trained import TrainedEmbedding
from pivotal.events import StepDone
from pivotal.jobs.batches import DatasetBatches
from pivotal.jobs.watch.view import JobView, fold
from pivotal.models.build import build_model
from pivotal.models.diffusion import DiffusionModel
from pivotal.prompts.chunks import tokenize_prompt
from pivotal.training.batch import Batch
from pivotal.training.optimizers import make_steppers
from pivotal.training.part import Part
from pivotal.training.session import Session
from pivotal.training.settings import Settings
from tiny import _tensors, tokenizer

SIDE = 64  # px


class OneCaption:
    """Batches of one latent with the first embedding's word."""

    images, size = 8, 1

    def __init__(self) -> None:
        self.prompt = tokenize_prompt("a zk0 circle", tokenizer(), {"zk0": VECTORS})

    def at(self, position: int) -> Batch:
        latents = torch.randn(1, 4, SIDE // 8, SIDE // 8, generator=torch.Generator().manual_seed(position % 8))
        return Batch(latents, [self.prompt], torch.zeros(1, 6), items=[position % 8])


def dataset(count: int, model: DiffusionModel) -> Callable[[], None]:
    """Asks for one batch after another of `count` images."""
    size = (SIDE, SIDE)
    items = [Item(Path(f"{number}.png"), f"a circle number {number} of many", size) for number in range(count)]
    versions = Versions(items, [View(number, Fit(size, size, (0, 0), size), 1.0, 0.0) for number in range(count)],
                        StoreSettings(1), reads_masks=False)
    shelf, one = Memory(), Encoded(torch.zeros(4, SIDE // 8, SIDE // 8), torch.ones(4, SIDE // 8, SIDE // 8))
    for key in versions.keys():
        shelf.put(key, one)
    batches = DatasetBatches(ImageStore(model, versions, shelf), Captions(items, [Concept()], 1), Order(versions.views, 1, 1),
                             seed=1, tokenizer=tokenizer(), placeholders={}, rules=Caption())
    positions = iter(range(10**9))
    return lambda: batches.at(next(positions)) and None


def session(model: DiffusionModel, embeddings: int, done: int = 0) -> Callable[[], None]:
    """Takes steps of a run that has so many embeddings and steps behind it."""
    parts = [Part(TrainedEmbedding(f"zk{number}", [torch.randn(VECTORS, model.widths[0]) * 0.02]), 1e-4)
             for number in range(embeddings)]
    run = Session(model, parts, OneCaption(), make_steppers(Optimizer(), parts), Settings(0, 10**6, 1, torch.float32))
    run.progress = replace(run.progress, step=done, images=done)
    return lambda: run.step(run.learning()) and None


def page(done: int) -> Callable[[], None]:
    """Takes in the events of a run that has so many steps behind it."""
    views, steps = [JobView()], iter(range(1, 10**9))

    def one() -> None:
        views[0] = fold(views[0], StepDone(next(steps), 10**6, 0.1, 0.1, {"zk": 1e-4}, 0.1, 1))

    for _ in range(done):
        one()
    return one


def line(name: str, few: Callable[[], None], many: Callable[[], None], rounds: int) -> str:
    """One line of the table."""
    took: list[list[float]] = [[], []]
    for number in range(rounds + 3):
        for which, work in enumerate((few, many)):
            began = time.process_time()
            work()
            if number >= 3:
                took[which].append((time.process_time() - began) * 1000)
    a, b = map(statistics.median, took)
    return f"{name:40} {a:9.3f} {b:9.3f} {b - a:+9.3f} {b / a:7.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=200)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    model = build_model(_tensors("sd1", SMALL, 0), tokenizer=tokenizer(), resolution=SIDE)
    print(f"{'':40} {'few ms':>9} {'many ms':>9} {'more ms':>9} {'ratio':>7}")
    print(line("a batch, of 10 and 100,000 images", dataset(10, model), dataset(100_000, model), rounds), flush=True)
    print(line("a step, with 1 and 100 embeddings", session(model, 1), session(model, 100), rounds // 4), flush=True)
    print(line("a step, after 0 and 10,000 steps", session(model, 1), session(model, 1, 10_000), rounds // 4), flush=True)
    print(line("the page's view, after 0 and 10,000", page(0), page(10_000), rounds), flush=True)


if __name__ == "__main__":
    main()
