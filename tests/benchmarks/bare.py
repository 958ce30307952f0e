"""The least that a step of training can cost: forward, backward, AdamW, over a model that is there already."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from pivotal.config.sections.network import Blocks, Network, Targets
from pivotal.models.diffusion import DiffusionModel
from pivotal.networks.choose import choose_layers
from pivotal.prompts.chunks import tokenize_prompt
from tiny import SHAPES, Shape

RANK, VECTORS, RATE = 16, 4, 1e-4
FULL = Shape(levels=((320, 1), (640, 1), (1280, 1), (1280, 0)), layers=2, clip_width=768, text_layers=12,
             vae=(128, 256, 512, 512))
SMALL = replace(SHAPES["sd1"], levels=((32, 1), (64, 1), (64, 1), (64, 0)), layers=2, clip_width=64)


class Side(nn.Module):
    """A plain LoRA beside one linear layer or 1x1 convolution."""

    def __init__(self, layer: nn.Module):
        super().__init__()
        self.layer, self.plain = layer, layer.forward
        rows, columns = layer.weight.shape[:2]
        self.down = nn.Parameter(torch.randn(RANK, columns) / columns**0.5)
        self.up = nn.Parameter(torch.zeros(rows, RANK))

    def forward(self, values: Tensor) -> Tensor:
        down, up = self.down.to(values.dtype), self.up.to(values.dtype)
        if isinstance(self.layer, nn.Conv2d):
            return self.plain(values) + functional.conv2d(functional.conv2d(values, down[..., None, None]), up[..., None, None])
        return self.plain(values) + functional.linear(functional.linear(values, down), up)


class Bare:
    """The loop over eight latents of `side` x `side` that are there, with one caption.

    Args:
        lora: of rank 16, two matrices beside each layer that ours takes.
        embedding: four vectors; the text encoder runs in each step, and else before the first.
    """

    def __init__(self, model: DiffusionModel, side: int, *, lora: bool, embedding: bool):
        self.model, self.position = model, 0
        self.latents = [torch.randn(1, 4, side, side) for _ in range(8)]
        words = "a zk circle" if embedding else "a red circle"
        self.prompts = [tokenize_prompt(words, model.tokenizer, {"zk": VECTORS} if embedding else {})]
        self.sides = [Side(layer) for layer in lora_layers(model)] if lora else []
        self.vectors = [nn.Parameter(torch.randn(VECTORS, model.widths[0]) * 0.02)] if embedding else []
        parameters = [p for side in self.sides for p in (side.down, side.up)] + self.vectors
        self.optimizer = torch.optim.AdamW(parameters, lr=RATE, fused=True)
        with torch.no_grad():
            self.hidden = None if embedding else model.encode_prompts(self.prompts, {})

    @contextmanager
    def attached(self) -> Iterator[None]:
        """While it lasts, its LoRA is in place of whatever forward the layers had."""
        before = [vars(side.layer).get("forward") for side in self.sides]
        for side in self.sides:
            side.layer.forward = side.forward
        yield
        for side, forward in zip(self.sides, before, strict=True):
            del side.layer.forward
            if forward is not None:
                side.layer.forward = forward

    def step(self) -> None:
        """One update."""
        latents = self.latents[self.position % len(self.latents)]
        self.position += 1
        noise, timestep = torch.randn_like(latents), torch.randint(0, 1000, (1,))
        alpha = self.model.alphas_cumprod[timestep].view(-1, 1, 1, 1)
        noisy = (alpha.sqrt() * latents + (1 - alpha).sqrt() * noise).to(self.model.dtype)
        hidden = self.hidden or self.model.encode_prompts(self.prompts, {"zk": self.vectors})
        loss = functional.mse_loss(self.model.predict(noisy, timestep, hidden).float(), noise)
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)


def lora_layers(model: DiffusionModel) -> list[nn.Module]:
    """The layers of the UNet that our LoRA takes."""
    chosen = choose_layers(model, Network(method="lora", rank=RANK), Targets(), Blocks())
    return [layer.module for layers in chosen.values() for layer, _ in layers]
