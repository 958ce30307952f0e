"""What a step costs beside the bare model: run me, I print ratios that were measured in one run.

    OMP_NUM_THREADS=1 python tests/benchmarks/steps.py [--rounds 40] [--full]

The bare loop has the same UNet, text encoder and latents, a forward, a backward and torch's fused AdamW, and nothing else;
its LoRA is two matrices beside each layer. The two take turns, step by step, in one process, and each quotient is of two
steps that follow one another. CPU seconds, for other work on the machine is in the others. --full takes the sizes of
Stable Diffusion 1.5 with random weights at 256 px, and 6 GB of memory.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "extension"))

from pivotal.config.sections.network import Blocks, Network, Targets
from pivotal.config.sections.training import Optimizer
from pivotal.embeddings.trained import TrainedEmbedding
from pivotal.models.build import build_model
from pivotal.models.diffusion import DiffusionModel
from pivotal.networks import network as networks
from pivotal.networks.choose import choose_layers
from pivotal.prompts.chunks import tokenize_prompt
from pivotal.training.batch import Batch
from pivotal.training.optimizers import make_steppers
from pivotal.training.part import Part
from pivotal.training.session import Session
from pivotal.training.settings import Settings
from tiny import SHAPES, Shape, _tensors, tokenizer

RANK, VECTORS, RATE = 16, 4, 1e-4
FULL = Shape(levels=((320, 1), (640, 1), (1280, 1), (1280, 0)), layers=2, clip_width=768, text_layers=12,
             vae=(128, 256, 512, 512))
SMALL = replace(SHAPES["sd1"], levels=((32, 1), (64, 1), (64, 1), (64, 0)), layers=2, clip_width=64)


@dataclass
class Random:
    """Batches of one latent and one caption, the same tensors each time."""

    side: int
    words: str
    images: int = 8
    size: int = 1

    def at(self, position: int) -> Batch:
        generator = torch.Generator().manual_seed(position % self.images)
        latents = torch.randn(1, 4, self.side, self.side, generator=generator)
        prompt = tokenize_prompt(self.words, tokenizer(), {"zk": VECTORS} if "zk" in self.words else {})
        return Batch(latents, [prompt], torch.zeros(1, 6))


class Side(nn.Module):
    """A plain LoRA beside one linear layer or 1x1 convolution."""

    def __init__(self, layer: nn.Module):
        super().__init__()
        self.layer, self.plain = layer, layer.forward
        rows, columns = layer.weight.shape[:2]
        self.down = nn.Parameter(torch.randn(RANK, columns) / columns**0.5)
        self.up = nn.Parameter(torch.zeros(rows, RANK))

    def forward(self, values: Tensor) -> Tensor:
        if isinstance(self.layer, nn.Conv2d):
            return self.plain(values) + functional.conv2d(functional.conv2d(values, self.down[..., None, None]),
                                                          self.up[..., None, None])
        return self.plain(values) + functional.linear(functional.linear(values, self.down), self.up)


class Bare:
    """Forward, backward, AdamW."""

    def __init__(self, model: DiffusionModel, batches: Random, lora: bool, embedding: bool):
        self.model, self.batches, self.position = model, batches, 0
        self.sides = [Side(layer) for layer in lora_layers(model)] if lora else []
        self.vectors = [nn.Parameter(torch.randn(VECTORS, model.widths[0]) * 0.02)] if embedding else []
        parameters = [p for side in self.sides for p in (side.down, side.up)] + self.vectors
        self.optimizer = torch.optim.AdamW(parameters, lr=RATE, fused=True)
        batch = batches.at(0)
        with torch.no_grad():
            self.hidden = None if embedding else model.encode_prompts(batch.prompts, {})

    @contextmanager
    def attached(self) -> Iterator[None]:
        for side in self.sides:
            side.layer.forward = side.forward
        yield
        for side in self.sides:
            side.layer.forward = side.plain

    def step(self) -> None:
        batch = self.batches.at(self.position)
        self.position += 1
        noise, timestep = torch.randn_like(batch.latents), torch.randint(0, 1000, (1,))
        alpha = self.model.alphas_cumprod[timestep].view(-1, 1, 1, 1)
        noisy = alpha.sqrt() * batch.latents + (1 - alpha).sqrt() * noise
        hidden = self.hidden or self.model.encode_prompts(batch.prompts, {"zk": self.vectors})
        loss = functional.mse_loss(self.model.predict(noisy, timestep, hidden), noise)
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)


class Ours:
    """A session, as a run has it."""

    def __init__(self, model: DiffusionModel, batches: Random, lora: bool, embedding: bool):
        chosen = choose_layers(model, Network(method="lora", rank=RANK, alpha=RANK), Targets(), Blocks())
        self.networks = [networks.Network(name, "lora", layers, torch.Generator().manual_seed(0))
                         for name, layers in chosen.items()] if lora else []
        parts = [Part(network, RATE) for network in self.networks]
        if embedding:
            parts.append(Part(TrainedEmbedding("zk", [torch.randn(VECTORS, model.widths[0]) * 0.02]), RATE))
        settings = Settings(0, 10**6, 1, torch.float32, cache_text=True)
        self.session = Session(model, parts, batches, make_steppers(Optimizer(learning_rate=RATE), parts), settings)

    @contextmanager
    def attached(self) -> Iterator[None]:
        if not self.networks:
            yield
            return
        with self.networks[0].attached():
            yield

    def step(self) -> None:
        self.session.step(self.session.learning())


def lora_layers(model: DiffusionModel) -> list[nn.Module]:
    """The layers of the UNet that our LoRA takes."""
    chosen = choose_layers(model, Network(method="lora", rank=RANK), Targets(), Blocks())
    return [layer.module for layers in chosen.values() for layer, _ in layers]


def seconds(work: Callable[[], None]) -> float:
    """CPU seconds that `work` takes."""
    started = time.process_time()
    work()
    return time.process_time() - started


def compare(name: str, model: DiffusionModel, batches: Random, rounds: int, *, lora: bool, embedding: bool) -> str:
    """One line of the table."""
    both = Bare(model, batches, lora, embedding), Ours(model, batches, lora, embedding)
    took: list[list[float]] = [[], []]
    for _ in range(rounds + 3):  # the first three warm up
        for index, program in enumerate(both):
            with program.attached():
                took[index].append(seconds(program.step))
    bare, ours = took[0][3:], took[1][3:]
    quotients = sorted(b / a for a, b in zip(bare, ours, strict=True))
    low, high = quotients[len(quotients) // 4], quotients[-1 - len(quotients) // 4]
    mean = statistics.mean(ours) / statistics.median(ours)
    return (f"{name:12} {statistics.median(bare) * 1000:9.1f} {statistics.median(ours) * 1000:9.1f} "
            f"{statistics.median(quotients):6.3f} {low:6.3f} .. {high:.3f} {mean:9.3f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--full", action="store_true", help="the sizes of SD 1.5")
    options = parser.parse_args()
    torch.set_num_threads(1)
    shape, side = (FULL, 32) if options.full else (SMALL, 8)
    model = build_model(_tensors("sd1", shape, 0), tokenizer=tokenizer(), resolution=side * 8)
    print(f"{len(lora_layers(model))} layers with LoRA, rank {RANK}; {side * 8} px, batch 1, fp32, one thread")
    print("what             bare ms   ours ms  ratio  quartiles      mean/median of ours")
    for name, lora, embedding, words in (("LoRA", True, False, "a red circle"), ("embedding", False, True, "a zk circle"),
                                         ("both", True, True, "a zk circle")):
        print(compare(name, model, Random(side, words), options.rounds, lora=lora, embedding=embedding), flush=True)


if __name__ == "__main__":
    main()
