"""What a run needs of memory and disk, told before anything is loaded.

Weights that the host holds anyway cost nothing. What a step keeps for its backward pass was counted, tensor by tensor, in the
models' own code without a device (diffusers, attention that keeps no matrix of scores, one image of 512 px or 1024 px); it
grows with the area and the number of images. Devices need more for their kernels: on a processor 1.4 to 1.9 times what was
counted (SD 1 of full size in fp32, 256 and 384 px); no graphics card was at hand. `jobs/outlook/probe.py` measures.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass

import torch

from pivotal.config.train import TrainConfig
from pivotal.data.versions import cached_bytes
from pivotal.hosts.protocol import Host
from pivotal.jobs.checks.plan import Plan
from pivotal.jobs.dataset_plan import order_of, usual_resolution, views_of
from pivotal.jobs.outlook.captions import vectors_of
from pivotal.jobs.outlook.samples import drawings, planned_samples
from pivotal.jobs.preparation import store_settings
from pivotal.models.families import FAMILIES, SD1
from pivotal.training.precision import compute_dtype, gains_by_bf16

_SLACK_CARD, _SLACK_PROCESSOR = 1.1, 1.6  # times what was counted
_FULL, _HALF, _CAST = "fp32", "16 bit", "cast"  # how a model computes; cast: in another format than its weights have
_ACTIVATIONS: Mapping[tuple[str, str, str], tuple[float, float]] = {  # bytes a px of an image: kept whole, checkpointed
    ("sd1", "network", _FULL): (7324, 1945), ("sd1", "network", _HALF): (3665, 973), ("sd1", "network", _CAST): (4540, 2010),
    ("sd1", "embedding", _FULL): (5823, 1722), ("sd1", "embedding", _HALF): (2914, 862),
    ("sd1", "embedding", _CAST): (3590, 1810),
    ("sdxl", "network", _FULL): (13146, 1371), ("sdxl", "network", _HALF): (6579, 686), ("sdxl", "network", _CAST): (7459, 914),
    ("sdxl", "embedding", _FULL): (9909, 1046), ("sdxl", "embedding", _HALF): (4961, 523),
    ("sdxl", "embedding", _CAST): (6035, 831),
}
_ENCODING = {_FULL: 2572, _HALF: 1286}  # likewise, of the VAE while it encodes; five tensors of the image's size at once
_UNET = {"sd1": 859_520_964, "sd2": 865_910_724, "sdxl": 2_567_463_684}  # parameters
_PER_RANK = {  # sum of the heights and widths of the matrices that get a network
    "sd1": {"attention and feed-forward": 423_936, "attention": 199_296, "cross-attention": 99_456, "self-attention": 99_840},
    "sd2": {"attention and feed-forward": 432_128, "attention": 207_488, "cross-attention": 107_648, "self-attention": 99_840},
    "sdxl": {"attention and feed-forward": 2_659_840, "attention": 1_451_520, "cross-attention": 785_920,
             "self-attention": 665_600},
}
_WHOLE = {  # values of these matrices
    "sd1": {"attention and feed-forward": 266_977_280, "attention": 93_511_680, "cross-attention": 43_950_080,
            "self-attention": 49_561_600},
    "sd2": {"attention and feed-forward": 273_367_040, "attention": 99_901_440, "cross-attention": 50_339_840,
            "self-attention": 49_561_600},
    "sdxl": {"attention and feed-forward": 2_207_744_000, "attention": 955_187_200, "cross-attention": 545_587_200,
             "self-attention": 409_600_000},
}
_CONVOLUTIONS = {"sd1": 544_000, "sd2": 544_000, "sdxl": 355_840}  # as _PER_RANK, of the residual blocks' 3 x 3
_TEXT_PER_RANK = {"sd1": (165_888,), "sd2": (423_936,), "sdxl": (165_888, 737_280)}
_TEXT_WHOLE = {"sd1": (84_934_656,), "sd2": (289_406_976,), "sdxl": (84_934_656, 629_145_600)}
_WIDTHS = {"sd1": 768, "sd2": 1024, "sdxl": 768 + 1280}  # of a vector, over all encoders
_MATRICES = {  # times the values of a LoRA
    "lora": 1.0, "dylora": 1.0, "loha": 2.0, "lokr": 0.1, "glora": 2.0, "oft": 0.5, "boft": 1.0, "ia3": 0.02}
_OPTIMIZER = {  # bytes of state for each value that is trained; 8 where nothing is said
    "adamw 8-bit": 2, "paged adamw 8-bit": 0, "lion": 4, "lion 8-bit": 1, "paged lion 8-bit": 0, "adafactor": 0.1,
    "prodigy": 16, "dadapt adam": 12, "dadapt lion": 8, "dadapt sgd": 12, "dadapt adagrad": 12, "sgd": 4,
    "schedule-free sgd": 4, "came": 4.2, "adan": 16, "ademamix": 12, "tiger": 4, "rmsprop": 4, "adagrad": 4,
}


@dataclass(frozen=True)
class Memory:
    """Bytes on the device, beside what the host holds there anyway."""

    parts: Mapping[str, int]  # in words, what takes them
    is_known: bool = True  # off: the checkpoint is far smaller than its family's, and the numbers are the family's

    @property
    def total(self) -> int:
        return sum(self.parts.values())


@dataclass(frozen=True)
class Disk:
    """Bytes that a run writes, and the room there is."""

    parts: Mapping[str, int]
    free: int

    @property
    def total(self) -> int:
        return sum(self.parts.values())


def memory(plan: Plan, host: Host) -> Memory:
    """What the device must hold more than for prompts, at the largest images."""
    config, family = plan.config, family_of(host)
    mode, weights = _mode(config, 0 if _is_small(host) else _UNET[family])
    views = views_of(plan.captions, config, usual_resolution(config, host))
    area = max(height * width for height, width in {view.fit.size for view in views})
    kind = "embedding" if config.network.method == "none" else "network"
    kept = _ACTIVATIONS["sdxl" if family == "sdxl" else "sd1", kind, mode][config.precision.gradient_checkpointing]
    values = trained_values(config, family, vectors(config, host))
    slack = _SLACK_CARD if torch.cuda.is_available() else _SLACK_PROCESSOR
    parts = {"activations": int(kept * area * config.batch.size * slack),
             "gradients": int(values * 4), "optimizer": int(values * _OPTIMIZER.get(config.optimizer.kind, 8))}
    if mode == _CAST and not config.precision.gradient_checkpointing:
        parts["weights in the format of the work"] = 2 * _UNET[family]
    encoding, is_full = _encoding(config, family, weights)
    # Of the step and the encoding that comes before it, only the larger one needs room.
    parts["encoding of images, beyond a step"] = max(0, int(encoding * area * slack) - sum(parts.values()))
    parts["what is trained"] = int(values * (2 if config.precision.weights == "bf16" else 4))
    if mode == _HALF and weights == torch.float32:
        parts["weights in bf16"] = 2 * _UNET[family]
    if mode == _FULL and weights != torch.float32:
        parts["weights in fp32"] = 4 * _UNET[family]
    if is_full and weights != torch.float32:
        parts["VAE in fp32"] = 4 * 83_653_863
    if (config.optimizer.ema_decay or config.optimizer.ema_half_life) and not config.performance.averages_on_cpu:
        parts["average over the steps"] = int(values * 4)
    return Memory({name: size for name, size in parts.items() if size}, not _is_small(host))


def _encoding(config: TrainConfig, family: str, weights: torch.dtype) -> tuple[int, bool]:
    """Bytes a px of the images that are encoded at once, and whether that is done in fp32."""
    asked, cache = config.precision.vae, config.cache
    is_full = weights == torch.float32 or asked == "fp32" or (asked == "auto" and family == "sdxl")
    count = config.batch.size if cache.latents == "off" else cache.batch if cache.when == "before" else 1
    return _ENCODING[_FULL if is_full else _HALF] * count, is_full


def disk(plan: Plan, host: Host) -> Disk:
    """What the run writes at most; encoded images of earlier runs that are found again are counted, too."""
    config, family = plan.config, family_of(host)
    usual = usual_resolution(config, host)
    views = views_of(plan.captions, config, usual)
    values = trained_values(config, family, vectors(config, host))
    width = 4 if config.save.precision == "fp32" or config.network.method == "none" else 2
    copies = config.length.steps // config.save.every_steps if config.save.every_steps else 0
    copies = min(copies, config.save.keep_copies or copies)
    images = drawings(config, order_of(views, config).images)
    pixels = sum(settings.width * settings.height for _, settings in planned_samples(config, plan.captions, usual))
    parts = {"results": int(values * width * (1 + copies)),
             "state": int(values * (4 + _OPTIMIZER.get(config.optimizer.kind, 8))), "samples": int(images * pixels * 1.5)}
    if config.cache.latents == "disk":
        parts["encoded images"] = cached_bytes(views, store_settings(config, plan.captions))
    return Disk({name: size for name, size in parts.items() if size}, shutil.disk_usage(host.folders().scratch).free)


def trained_values(config: TrainConfig, family: str, counts: Mapping[str, int]) -> float:
    """How many numbers are trained; of methods whose matrices depend on each layer's own size about so many.

    Args:
        counts: placeholder -> number of vectors.
    """
    vectors_trained = sum(counts.get(row.placeholder, row.token_count or 1) for row in config.embeddings if row.train)
    return vectors_trained * _WIDTHS[family] + _network_values(config, family)


def _network_values(config: TrainConfig, family: str) -> float:
    network, targets = config.network, config.targets
    texts = (targets.text_encoder_1, targets.text_encoder_2)[:len(_TEXT_WHOLE[family])]
    if network.method == "none":
        return 0.0
    if network.method == "full":
        unet = _WHOLE[family][targets.layers] if targets.unet else 0
        return unet + sum(size for on, size in zip(texts, _TEXT_WHOLE[family], strict=True) if on)
    per_rank = _PER_RANK[family][targets.layers] if targets.unet else 0
    per_rank += sum(size for on, size in zip(texts, _TEXT_PER_RANK[family], strict=True) if on)
    convolutions = _CONVOLUTIONS[family] * (network.conv_rank or 0) if targets.unet else 0
    return (per_rank * network.rank + convolutions) * _MATRICES[network.method]


def vectors(config: TrainConfig, host: Host) -> dict[str, int]:
    """Placeholder -> number of vectors, as far as the host can count."""
    tokenizer = next(iter(host.prompt_context().encoders.values()), None)
    return {} if tokenizer is None else vectors_of(config, tokenizer, host)


def _is_small(host: Host) -> bool:
    """Whether the loaded checkpoint's file holds less than a byte for each two values of its family's UNet."""
    loaded = host.checkpoint()
    try:
        return loaded is not None and loaded.path.stat().st_size < _UNET[family_of(host)] / 2
    except OSError:
        return False


def family_of(host: Host) -> str:
    """Of the checkpoint that is loaded; SD 1 where none is."""
    loaded = host.checkpoint()
    return loaded.family if loaded is not None and loaded.family in FAMILIES else SD1.name


def _mode(config: TrainConfig, size: int) -> tuple[str, torch.dtype]:
    """How the model, of `size` parameters, will compute, and the format that its host holds it in: fp16 on a card, fp32 on a
    processor."""
    on_card = torch.cuda.is_available()
    device, weights = torch.device("cuda" if on_card else "cpu"), torch.float16 if on_card else torch.float32
    asked = config.precision.compute
    if asked == "auto" and not config.sharing.let_prompts_through and gains_by_bf16(device, weights, size):
        return _HALF, weights
    compute = compute_dtype(asked, device, weights)
    if compute != weights:
        return (_FULL if compute == torch.float32 else _CAST), weights
    return (_FULL if weights == torch.float32 else _HALF), weights
