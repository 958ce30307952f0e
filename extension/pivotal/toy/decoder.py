"""Stage 2: the decoder learns edges from the closed-form latents of any scene; the encoder never runs here."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Generator, Tensor, nn
from torch.nn import functional
from torch.optim import Optimizer

from pivotal.toy import captions, concepts
from pivotal.toy.concepts import Paint, Scene
from pivotal.toy.muon import Muon
from pivotal.toy.state import Schedule, load_state, save_state
from pivotal.toy.vae import RESERVED, SCALE, build_vae, pixels_of, scaled_latents

log = logging.getLogger(__name__)

LATENT_NOISE = 0.08  # added to the unit-std latents, so that the decoder forgives the UNet's small errors
EDGE_WEIGHT = 0.3


def random_paint(rng: np.random.Generator) -> Paint:
    """Any colour of the cube, without a name."""
    return Paint("", tuple(float(value) for value in rng.uniform(0, 255, 3)))


def wild_scene(rng: np.random.Generator) -> Scene:
    """Random colours, any shape and finish, held-out ones too: reconstruction must not depend on what is trained."""
    centre, size = captions.random_place(rng)
    finish = str(rng.choice(concepts.FINISHES, p=(0.6, 0.2, 0.2)))
    return Scene(str(rng.choice(concepts.SHAPES)), random_paint(rng), random_paint(rng), centre, size, finish)


def batch_pixels(rng: np.random.Generator, count: int) -> Tensor:
    """(count, 3, side, side) in -1..1: two thirds of the trained world, one third wild."""
    return pixels_of([captions.trained_scene(rng) if rng.random() < 0.67 else wild_scene(rng) for _ in range(count)])


def edges(pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Differences of neighbours, down and right."""
    return pixels[..., 1:, :] - pixels[..., :-1, :], pixels[..., 1:] - pixels[..., :-1]


def loss_of(vae: AutoencoderKL, pixels: Tensor, generator: Generator) -> Tensor:
    """L1 + L1 of the edges, of pixels (B, 3, side, side) decoded from their noised latents."""
    latents = scaled_latents(pixels)
    latents = latents + LATENT_NOISE * torch.randn(latents.shape, generator=generator)
    with torch.autocast("cpu", torch.bfloat16):
        image = vae.decode(latents / SCALE).sample.float()
    sharp = sum(functional.l1_loss(got, want) for got, want in zip(edges(image), edges(pixels), strict=True))
    return functional.l1_loss(image, pixels) + EDGE_WEIGHT * sharp


def keep_reserved(module: nn.Module) -> None:
    """Gradients of the reserved rows are zeroed: the linear path stays, the rest of the stream learns what it lacks."""

    def without_reserved(gradient: Tensor) -> Tensor:
        gradient = gradient.clone()
        gradient[RESERVED] = 0
        return gradient

    for name, part in module.named_modules():
        if name.endswith(("conv2", "to_out.0", "conv_shortcut", "samplers.0.conv", "conv_in")):
            for parameter in part.parameters():
                parameter.register_hook(without_reserved)


def optimizers_for(vae: AutoencoderKL, rate: float) -> tuple[Optimizer, Optimizer]:
    """Muon for the decoder's inner matrices; AdamW at a tenth for norms, biases and conv_out, which hold the read-out."""
    named = list(vae.decoder.named_parameters())
    body = [value for name, value in named if value.ndim > 1 and not name.startswith("conv_out")]
    rest = [value for name, value in named if value.ndim == 1 or name.startswith("conv_out")]
    return Muon(body, lr=rate), torch.optim.AdamW(rest, lr=rate / 10, betas=(0.9, 0.98), weight_decay=0.0)


def train_decoder(folder: Path, schedule: Schedule) -> AutoencoderKL:
    """Trains or resumes; returns the autoencoder with averaged weights. State lies in `folder`/decoder.pt."""
    torch.manual_seed(schedule.seed)  # diffusers' constructors draw their weights from the global generator
    vae = build_vae()
    vae.requires_grad_(False)
    vae.decoder.requires_grad_(True)
    keep_reserved(vae.decoder)
    optimizers = optimizers_for(vae, schedule.rate)
    average = {name: value.detach().clone() for name, value in vae.state_dict().items()}
    path = folder / "decoder.pt"
    losses: list[float] = []
    for step in range(load_state(path, vae, optimizers, average), schedule.steps):
        rng = np.random.default_rng((schedule.seed, 1, step))
        generator = torch.Generator().manual_seed(schedule.seed * 1_000_003 + step)
        loss = loss_of(vae, batch_pixels(rng, schedule.batch), generator)
        schedule.apply(optimizers, loss, vae, step)
        schedule.average(average, vae, step)
        losses.append(loss.item())
        if (step + 1) % 20 == 0:
            log.info("decoder step %d of %d, loss %.4f", step + 1, schedule.steps, np.mean(losses[-20:]))
        if (step + 1) % schedule.save_every == 0 or step + 1 == schedule.steps:
            save_state(path, step + 1, vae, optimizers, average)
    vae.load_state_dict(average)
    return vae.eval()
