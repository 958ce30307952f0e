"""Stage 4: UNet and text encoder, trained together on the latent bank."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from torch import Generator, Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.optim import Optimizer

from pivotal.toy.latents import LatentBank
from pivotal.toy.muon import Muon
from pivotal.toy.state import Schedule, load_state, save_state
from pivotal.toy.text import WIDTH, build_text, token_ids, trained_vocabulary

log = logging.getLogger(__name__)

CHANNELS = (128, 128, 128)
LAYERS_PER_BLOCK = 1
HEADS = 8
TIMESTEPS = 1000
BETAS = (0.00085, 0.012)  # scaled linear
EMPTY_CAPTIONS = 0.1  # for classifier-free guidance
HIGHEST_WEIGHT = 25.0


def alphas_cumprod() -> Tensor:
    """(1000,) float32, SD1's scaled-linear schedule."""
    betas = torch.linspace(BETAS[0] ** 0.5, BETAS[1] ** 0.5, TIMESTEPS, dtype=torch.float64) ** 2
    return (1 - betas).cumprod(0).float()


def build_unet() -> UNet2DConditionModel:
    """The untrained UNet in SD1's form: 8 heads at every level, convolutions around the transformers, 32 norm groups."""
    return UNet2DConditionModel(
        sample_size=8,
        block_out_channels=CHANNELS,
        layers_per_block=LAYERS_PER_BLOCK,
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=WIDTH,
        attention_head_dim=HEADS,  # diffusers' name for the number of heads
    )


def build_model() -> nn.ModuleDict:
    """{"unet", "text"}, untrained; the text table has only the trained rows."""
    return nn.ModuleDict({"unet": build_unet(), "text": build_text(len(trained_vocabulary().ids))})


def loss_weights(alphas: Tensor) -> Tensor:
    """min(1 / alphabar, 25), scaled to mean 1 over the timesteps.

    Plain noise prediction (weight 1) did not learn the text in 1,000 steps: at high noise, where the caption decides
    the image, its error is nearly zero whatever the image. 1 / alphabar is the weight of v-prediction up to (1 - alphabar).
    """
    weights = (1 / alphas).clamp(max=HIGHEST_WEIGHT)
    return weights / weights.mean()


def loss_of(model: nn.ModuleDict, bank: LatentBank, batch: int, empty: Tensor, generator: Generator) -> Tensor:
    """Weighted noise-prediction loss of one random batch; `empty` (77,) holds the empty caption's tokens."""
    rows = torch.randint(0, len(bank.latents), (batch,), generator=generator)
    timesteps = torch.randint(0, TIMESTEPS, (batch,), generator=generator)
    latents, tokens = bank.latents[rows].float(), bank.tokens[rows]
    is_dropped = torch.rand(batch, generator=generator) < EMPTY_CAPTIONS
    tokens = torch.where(is_dropped[:, None], empty, tokens)
    noise = torch.randn(latents.shape, generator=generator)
    alphas = alphas_cumprod()
    level = alphas[timesteps].view(-1, 1, 1, 1)
    noisy = level.sqrt() * latents + (1 - level).sqrt() * noise
    # The flash kernel's backward takes half of a step here: heads of 16 are too narrow for it on a CPU.
    with torch.autocast("cpu", torch.bfloat16), sdpa_kernel(SDPBackend.MATH):
        conditioning = model["text"](tokens).last_hidden_state
        prediction = model["unet"](noisy, timesteps, conditioning).sample
    errors = (prediction.float() - noise).square().mean((1, 2, 3))
    return (errors * loss_weights(alphas)[timesteps]).mean()


def optimizers_for(model: nn.ModuleDict, rate: float) -> tuple[Optimizer, Optimizer]:
    """Muon for the UNet's inner matrices, AdamW at a tenth of the rate for all else."""
    outer = ("conv_in", "conv_out", "time_embedding")
    body = [value for name, value in model["unet"].named_parameters() if value.ndim > 1 and not name.startswith(outer)]
    chosen = {id(value) for value in body}
    rest = [value for value in model.parameters() if id(value) not in chosen]
    return Muon(body, lr=rate), torch.optim.AdamW(rest, lr=rate / 10, betas=(0.9, 0.99), weight_decay=0.0)


def train_diffusion(folder: Path, schedule: Schedule, bank: LatentBank) -> nn.ModuleDict:
    """Trains or resumes; returns the averaged weights. State lies in `folder`/diffusion.pt."""
    torch.manual_seed(schedule.seed)  # the constructors draw their weights from the global generator
    model = build_model()
    model["unet"].set_attn_processor(AttnProcessor())
    optimizers = optimizers_for(model, schedule.rate)
    average = {name: value.detach().clone() for name, value in model.state_dict().items()}
    path = folder / "diffusion.pt"
    first = load_state(path, model, optimizers, average)
    empty = trained_vocabulary().compact(token_ids([""]))[0]
    losses: list[float] = []
    for step in range(first, schedule.steps):
        generator = torch.Generator().manual_seed(schedule.seed * 1_000_003 + step)
        loss = loss_of(model, bank, schedule.batch, empty, generator)
        schedule.apply(optimizers, loss, model, step)
        schedule.average(average, model, step)
        losses.append(loss.item())
        if (step + 1) % 50 == 0:
            log.info("diffusion step %d of %d, loss %.4f", step + 1, schedule.steps, np.mean(losses[-50:]))
        if (step + 1) % schedule.save_every == 0 or step + 1 == schedule.steps:
            save_state(path, step + 1, model, optimizers, average)
    model.load_state_dict(average)
    return model.eval()
