"""Stage 1: the autoencoder. Its encoder is written down in closed form; its decoder starts in closed form and is trained.

ldm fixes GroupNorm at 32 groups, so with few channels a group is close to instance norm and absolute colour is lost at
the last norm. Here a group holds a signal and two constants (+K, -K) set by biases. They pin the group's variance, so
the norm is an affine map, and silu(x) - silu(-x) = x makes the read-out linear. Everything before it passes colour
along the residual stream, whose branches start at (nearly) zero.

The four latents of an 8x8 cell are its mean red, green and blue and the diagonal first moment of its brightness: where
in the cell an edge lies. Being known in advance, they let the UNet train while the decoder still learns.
"""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Generator, Tensor, nn
from torch.nn import functional
from torch.optim import Optimizer

from . import captions, concepts
from .concepts import Paint, Scene
from .muon import Muon
from .state import Schedule, load_state, save_state

log = logging.getLogger(__name__)

BASE, MULTIPLIERS = 96, (1, 1, 2, 2)
GROUPS = 32
PIN = 3.0  # the decoder's constants; colours are within -1..1, so they move the group's variance little
ENCODER_PIN = 12.0  # larger, as this side stays as it is: latents are linear in the pixels to 1 %
LATENT_NOISE = 0.1  # added to the latents in training, so that the decoder forgives the UNet's small errors
EDGE_WEIGHT = 0.3
LATENT_WEIGHT = 2e-4  # keeps the encoder from outgrowing that noise
SIGNALS = (0, 6, 12, 18)  # stream channels of red, green, blue and the moment; +3 holds the negative of each
BRIGHTNESS = (0.5, 0.6, 0.3)  # of red, green and blue in the moment
RESERVED = slice(0, 24)  # with the constants beside them; the rest of the stream starts at random


def build_vae() -> AutoencoderKL:
    """The untrained module in SD1's shape: f=8, 4 latent channels, 32 groups."""
    return AutoencoderKL(
        block_out_channels=tuple(BASE * multiplier for multiplier in MULTIPLIERS),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=1,
        norm_num_groups=GROUPS,
        sample_size=concepts.SIDE,
        scaling_factor=0.18215,
    )


@torch.no_grad()
def quiet_branches(vae: AutoencoderKL) -> None:
    """Residual branches start near zero; shortcuts and resampling pass the signal channels unchanged."""
    signals = {channel + sign for channel in SIGNALS for sign in (0, 3)}
    for name, module in vae.named_modules():
        if name.endswith(("conv2", "to_out.0")):
            module.weight.mul_(0.2)
            module.weight[RESERVED] = 0
            module.bias.zero_()
        elif name.endswith(("conv_shortcut", "upsamplers.0.conv", "downsamplers.0.conv")):
            module.weight.mul_(0.3)
            module.weight[RESERVED] = 0
            module.bias.zero_()
            taps = pass_through(module)
            for channel in signals | set(range(RESERVED.stop, min(module.weight.shape[:2]))):
                module.weight[channel, channel] += taps


def pass_through(conv: nn.Conv2d) -> Tensor:
    """The kernel (k, k) that keeps a channel: a centre tap, or the mean of 2x2 where the convolution halves the side."""
    taps = torch.zeros(conv.kernel_size)
    if conv.stride[0] == 2:
        taps[:2, :2] = 0.25  # ldm pads right and below only, so the window starts at its own pixel
    else:
        taps[conv.kernel_size[0] // 2, conv.kernel_size[1] // 2] = 1
    return taps


@torch.no_grad()
def start_linear(vae: AutoencoderKL) -> None:
    """Sets the ends so that decode(encode(x)) is x averaged over 8x8 pixels, before any step."""
    quiet_branches(vae)
    encoder, decoder = vae.encoder, vae.decoder
    start_stream(encoder.conv_in)
    start_stream(decoder.conv_in)
    width = encoder.conv_norm_out.num_channels // GROUPS
    # Encoder: six channels a group hold x (0), -x (3) and the constants (1, 2); decoder: x and -x in two groups of three.
    read_out(encoder.conv_norm_out, encoder.conv_out, encoder.mid_block.resnets[-1].conv2, width)
    read_out(decoder.conv_norm_out, decoder.conv_out, decoder.up_blocks[-1].resnets[-1].conv2, BASE // GROUPS)
    for conv in (vae.quant_conv, vae.post_quant_conv):
        conv.weight.copy_(torch.eye(conv.weight.shape[0])[..., None, None])
        conv.bias.zero_()


@torch.no_grad()
def start_stream(conv: nn.Conv2d) -> None:
    """Input channels 0, 1, 2 enter the stream as +x and -x."""
    conv.weight[RESERVED], conv.bias[RESERVED] = 0, 0
    for colour, channel in enumerate(SIGNALS):
        for row, sign in ((channel, 1.0), (channel + 3, -1.0)):
            conv.weight[row, colour, 1, 1] = sign


@torch.no_grad()
def read_out(norm: nn.GroupNorm, conv: nn.Conv2d, pinned_by: nn.Conv2d, width: int) -> None:
    """norm -> silu -> conv gives back colours 0..2; `width` channels a group, 3 or 6.

    With 3, the group (x, +K, -K) has mean m/3 (m the image's mean of x) and std s = K sqrt(2/3). The normalised +K
    channels of the two groups differ by -2m / (3s), which restores the mean that the norm took from x.
    """
    spread = PIN * (2 / width) ** 0.5
    conv.weight[:3], conv.bias[:3] = 0, 0
    for colour, channel in enumerate(SIGNALS):
        for row, sign in ((channel, 1.0), (channel + 3, -1.0)):
            conv.weight[colour, row, 1, 1] = sign * spread
            pins = (row + 1, row + 2) if width == 3 or sign > 0 else ()
            for pin, level in zip(pins, (PIN, -PIN), strict=False):
                pinned_by.bias[pin] = level
            if width == 3:
                norm.weight[row + 1] = 6.0  # far on silu's linear side
                conv.weight[colour, row + 1, 1, 1] = -sign * spread / 2 / 6.0


def random_paint(rng: np.random.Generator) -> Paint:
    """Any colour of the cube, without a name."""
    return Paint("", tuple(float(value) for value in rng.uniform(0, 255, 3)))


def wild_pixels(rng: np.random.Generator) -> np.ndarray:
    """(side, side, 3) uint8: random colours, every shape and finish, sometimes a random polygon over it."""
    ground, paint = random_paint(rng), random_paint(rng)
    centre, size = captions.random_place(rng)
    finish = str(rng.choice(concepts.FINISHES, p=(0.6, 0.2, 0.2)))
    return concepts.render(Scene(str(rng.choice(concepts.SHAPES)), paint, ground, centre, size, finish))


def batch_pixels(rng: np.random.Generator, count: int) -> Tensor:
    """(count, 3, side, side) in -1..1: half of the trained world, half wild."""
    images = [
        concepts.render(captions.trained_scene(rng)) if rng.random() < 0.5 else wild_pixels(rng) for _ in range(count)
    ]
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 127.5 - 1


def reconstruct(vae: AutoencoderKL, pixels: Tensor, noise: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """(reconstruction, latents) through the posterior's mean, latents raw (not scaled)."""
    latents = vae.encode(pixels).latent_dist.mean
    return vae.decode(latents if noise is None else latents + noise).sample, latents


def edges(pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Differences of neighbours, down and right."""
    return pixels[..., 1:, :] - pixels[..., :-1, :], pixels[..., 1:] - pixels[..., :-1]


def loss_of(vae: AutoencoderKL, pixels: Tensor, generator: Generator) -> Tensor:
    """L1 + L1 of the edges + a weak pull of the latents to unit size."""
    shape = (len(pixels), 4, pixels.shape[-2] // 8, pixels.shape[-1] // 8)
    noise = LATENT_NOISE * torch.randn(shape, generator=generator)
    with torch.autocast("cpu", torch.bfloat16):
        image, latents = reconstruct(vae, pixels, noise)
    image = image.float()
    sharp = sum(functional.l1_loss(got, want) for got, want in zip(edges(image), edges(pixels), strict=True))
    return functional.l1_loss(image, pixels) + EDGE_WEIGHT * sharp + LATENT_WEIGHT * latents.float().square().mean()


def optimizers_for(vae: AutoencoderKL, rate: float) -> tuple[Optimizer, Optimizer]:
    """Muon for the body's matrices; AdamW at a twentieth for norms, biases and the ends, which hold the read-out."""
    ends = ("encoder.conv_in", "conv_out", "quant_conv")
    named = list(vae.named_parameters())
    body = [value for name, value in named if value.ndim > 1 and not any(end in name for end in ends)]
    chosen = {id(value) for value in body}
    rest = [value for _, value in named if id(value) not in chosen]
    return Muon(body, lr=rate), torch.optim.AdamW(rest, lr=rate / 20, betas=(0.9, 0.98), weight_decay=0.0)


def train_vae(folder: Path, schedule: Schedule) -> AutoencoderKL:
    """Trains or resumes; returns the averaged weights. State lies in `folder`/vae.pt."""
    torch.manual_seed(schedule.seed)  # diffusers' constructors draw their weights from the global generator
    vae = build_vae()
    start_linear(vae)
    optimizers = optimizers_for(vae, schedule.rate)
    average = {name: value.detach().clone() for name, value in vae.state_dict().items()}
    path = folder / "vae.pt"
    first = load_state(path, vae, optimizers, average)
    for step in range(first, schedule.steps):
        rng = np.random.default_rng((schedule.seed, 1, step))
        generator = torch.Generator().manual_seed(schedule.seed * 1_000_003 + step)
        loss = loss_of(vae, batch_pixels(rng, schedule.batch), generator)
        schedule.apply(optimizers, loss, vae, step)
        schedule.average(average, vae, step)
        if (step + 1) % 10 == 0:
            log.info("vae step %d of %d, loss %.4f", step + 1, schedule.steps, loss.item())
        if (step + 1) % schedule.save_every == 0 or step + 1 == schedule.steps:
            save_state(path, step + 1, vae, optimizers, average)
    vae.load_state_dict(average)
    return vae.eval()
