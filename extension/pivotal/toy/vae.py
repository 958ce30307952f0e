"""Stage 1: the autoencoder, written down in closed form; only its decoder is then trained (decoder.py).

ldm fixes GroupNorm at 32 groups, so with few channels a group is close to instance norm and absolute colour is lost at
the last norm. Here a group holds a signal and two constants (+K, -K) set by biases. They pin the group's variance, so
the norm is an affine map, and silu(x) - silu(-x) = x makes the read-out linear. Everything before it passes colour
along the residual stream, whose branches start at (nearly) zero.

The four latents of an 8x8 cell are its mean red, green and blue and the diagonal first moment of its brightness (where
in the cell an edge lies), rotated and scaled. Being known in advance, they let the UNet train while the decoder learns.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn
from torch.nn import functional

from pivotal.toy import captions, concepts

BASE, MULTIPLIERS = 96, (1, 1, 2, 2)
GROUPS = 32
PIN = 3.0  # the decoder's constants; colours are within -1..1, so they move the group's variance little
ENCODER_PIN = 12.0  # larger, as this side is never trained: latents are linear in the pixels to 1 %
SIGNALS = (0, 6, 12, 18)  # stream channels of red, green, blue and the moment; +3 holds the negative of each
BRIGHTNESS = (0.5, 0.6, 0.3)  # of red, green and blue in the moment
RESERVED = slice(0, 24)  # with the constants beside them; in the decoder the rest of the stream is learned
SCALE = 0.18215  # SD1's fixed factor: pipelines multiply the raw latents by it
POSTERIOR_STD = 0.02  # of scaled latents, a constant
MOMENT_STD = 0.6  # of the colours'; it is zero inside and outside a shape, large at edges, so unit std would make it loud


def build_vae() -> AutoencoderKL:
    """The module in SD1's shape (f=8, 4 latent channels, 32 groups) with the closed-form weights."""
    vae = AutoencoderKL(
        block_out_channels=tuple(BASE * multiplier for multiplier in MULTIPLIERS),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=1,
        norm_num_groups=GROUPS,
        sample_size=concepts.SIDE,
        scaling_factor=SCALE,
    )
    write_encoder(vae)
    write_decoder(vae)
    fold_scale(vae)
    return vae


def pass_through(conv: nn.Conv2d) -> Tensor:
    """The kernel (k, k) that keeps a channel: a centre tap, or the mean of 2x2 where the convolution halves the side."""
    taps = torch.zeros(conv.kernel_size)
    if conv.stride[0] == 2:
        taps[:2, :2] = 0.25  # ldm pads right and below only, so the window starts at its own pixel
    else:
        taps[conv.kernel_size[0] // 2, conv.kernel_size[1] // 2] = 1
    return taps


@torch.no_grad()
def write_stream(part: nn.Module, noise: float) -> None:
    """Shortcuts and resampling keep every channel; branches are scaled by `noise` (0..1), and 0 in the reserved rows."""
    for name, module in part.named_modules():
        is_branch = name.endswith(("conv2", "to_out.0"))
        if not is_branch and not name.endswith(("conv_shortcut", "samplers.0.conv")):
            continue
        module.weight.mul_(noise)
        module.weight[RESERVED] = 0
        module.bias.zero_()
        if not is_branch:
            for channel in range(min(module.weight.shape[:2])):
                module.weight[channel, channel] += pass_through(module)


@torch.no_grad()
def write_entry(conv: nn.Conv2d, channels: int) -> None:
    """Input channels 0..channels-1 enter the stream as +x and -x."""
    conv.weight[RESERVED], conv.bias[RESERVED] = 0, 0
    for source, channel in enumerate(SIGNALS[:channels]):
        conv.weight[channel, source, 1, 1] = 1
        conv.weight[channel + 3, source, 1, 1] = -1


@torch.no_grad()
def write_encoder(vae: AutoencoderKL) -> None:
    """conv_out gives (red, green, blue, moment) of each cell; whatever the path does not need is zero."""
    encoder = vae.encoder
    for conv in (encoder.conv_in, encoder.conv_out):
        conv.weight.zero_()
        conv.bias.zero_()
    write_stream(encoder, noise=0.0)
    write_entry(encoder.conv_in, channels=3)
    for level, block in enumerate(encoder.down_blocks[:3]):
        weight = block.downsamplers[0].conv.weight
        for share, channel in zip(BRIGHTNESS, SIGNALS, strict=False):
            step = share * 2**level / 16  # bit `level` of a pixel's x + y, its mean over 2x2, in units of 4 pixels
            for row, sign in ((SIGNALS[3], step), (SIGNALS[3] + 3, -step)):
                weight[row, channel, 0, 0], weight[row, channel, 1, 1] = -sign, sign
    spread = ENCODER_PIN * (2 / 6) ** 0.5  # a group of six: x, +K, -K, -x, 0, 0
    for row, channel in enumerate(SIGNALS):
        encoder.mid_block.resnets[-1].conv2.bias[channel + 1 : channel + 3] = torch.tensor([ENCODER_PIN, -ENCODER_PIN])
        for source, sign in ((channel, 1.0), (channel + 3, -1.0)):
            encoder.conv_norm_out.weight[source] = spread
            encoder.conv_out.weight[row, source, 1, 1] = sign


@torch.no_grad()
def write_decoder(vae: AutoencoderKL) -> None:
    """conv_out gives each pixel its cell's mean colour, before any training.

    A group (x, +K, -K) has mean m/3 (m the image's mean of x) and std s = K sqrt(2/3). The normalised +K channels of
    the groups of x and of -x differ by -2m / (3s), which restores the mean that the norm took from x.
    """
    decoder, spread, gain = vae.decoder, PIN * (2 / 3) ** 0.5, 6.0  # the gain puts +K on silu's linear side
    write_stream(decoder, noise=0.2)
    write_entry(decoder.conv_in, channels=4)
    decoder.conv_out.weight.zero_()
    decoder.conv_out.bias.zero_()
    for row, channel in enumerate(SIGNALS[:3]):
        for source, sign in ((channel, 1.0), (channel + 3, -1.0)):
            decoder.up_blocks[-1].resnets[-1].conv2.bias[source + 1 : source + 3] = torch.tensor([PIN, -PIN])
            decoder.conv_norm_out.weight[source + 1] = gain
            decoder.conv_out.weight[row, source, 1, 1] = sign * spread
            decoder.conv_out.weight[row, source + 1, 1, 1] = -sign * spread / 2 / gain


def cell_values(pixels: Tensor) -> Tensor:
    """(N, 4, side/8, side/8): what the encoder's conv_out computes of (N, 3, side, side), by its definition."""
    place = torch.arange(8) - 3.5
    diagonal = (place[:, None] + place[None, :]) / 4 / 64
    brightness = torch.einsum("nchw,c->nhw", pixels, torch.tensor(BRIGHTNESS))[:, None]
    moment = functional.conv2d(brightness, diagonal[None, None], stride=8)
    return torch.cat([functional.avg_pool2d(pixels, 8), moment], dim=1)


@cache
def standard_map() -> tuple[Tensor, Tensor]:
    """(mean (4,), matrix (4, 4)) in float64: scaled latents are matrix @ (cell values - mean), unit std a channel.

    Measured on drawn scenes, so a change to what captions.py draws moves it, and asks for a new UNet.
    """
    rng = np.random.default_rng(11)
    pixels = pixels_of([captions.trained_scene(rng) for _ in range(512)])
    flat = cell_values(pixels).permute(1, 0, 2, 3).flatten(1).double()
    values, vectors = torch.linalg.eigh(flat[:3].cov())
    matrix = torch.zeros(4, 4, dtype=torch.float64)
    matrix[:3, :3] = vectors @ torch.diag(values.rsqrt()) @ vectors.T
    matrix[3, 3] = MOMENT_STD / flat[3].std()
    signs = torch.tensor([[1, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]], dtype=torch.float64)
    matrix = signs / 2 @ matrix  # a rotation that gives every channel its part of the moment
    spread = (matrix @ flat).std(1, keepdim=True)
    return flat.mean(1), matrix / spread


def scaled_latents(pixels: Tensor) -> Tensor:
    """(N, 4, side/8, side/8), what a pipeline's vae.encode(pixels) * 0.18215 gives, without running the encoder."""
    mean, matrix = standard_map()
    centred = cell_values(pixels) - mean.float()[:, None, None]
    return torch.einsum("ij,njhw->nihw", matrix.float(), centred)


@torch.no_grad()
def fold_scale(vae: AutoencoderKL) -> None:
    """quant_conv applies `standard_map` / 0.18215, post_quant_conv undoes it; the log-variance is a constant."""
    mean, matrix = standard_map()
    matrix = matrix / SCALE
    vae.quant_conv.weight.zero_()
    vae.quant_conv.weight[:4, :4] = matrix[..., None, None]
    vae.quant_conv.bias[:4] = -matrix @ mean
    vae.quant_conv.bias[4:] = 2 * float(np.log(POSTERIOR_STD / SCALE))
    vae.post_quant_conv.weight.copy_(torch.linalg.inv(matrix)[..., None, None])
    vae.post_quant_conv.bias.copy_(mean)


def pixels_of(scenes: list[concepts.Scene]) -> Tensor:
    """(len(scenes), 3, side, side) in -1..1."""
    images = np.stack([concepts.render(scene) for scene in scenes])
    return torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1
