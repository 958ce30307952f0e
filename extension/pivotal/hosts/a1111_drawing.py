"""Samples by AUTOMATIC1111's own samplers, over the lent model. Seen with 1.10.1.

Not by its process_images, which touches what is not ours (see a1111.py). Its samplers alone ask less: of `shared` the
model, the state and the progress bar. While they draw, their modules have ours of these, and the callbacks that other
extensions have put into a step are not called. What is the user's own setting (noise source, eta, sigmas, NGMS, padding)
is read from the host's options, as for a prompt. A prompt's pictures by "TAESD" or of a refiner are not what this shows.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from pivotal.models.diffusion import Conditioning, DiffusionModel, SizeIds
from pivotal.models.generate import GenerateSettings, conditioning_for, decoded

# Of the package `modules`: all that a sampler's own code is in.
MODULES = ("sd_samplers", "sd_samplers_common", "sd_samplers_cfg_denoiser", "sd_samplers_kdiffusion", "sd_samplers_timesteps",
           "sd_samplers_timesteps_impl", "sd_samplers_lcm", "sd_samplers_extra", "sd_schedulers")
CALLBACKS = ("cfg_denoiser_callback", "cfg_denoised_callback", "cfg_after_cfg_callback")


def sampler_names() -> list[str]:
    """As the page lists them; a schedule type may follow, as in "DPM++ 2M Karras"."""
    from modules import sd_samplers, sd_schedulers

    names = [sampler.name for sampler in sd_samplers.all_samplers]
    return names + [f"{name} {schedule.label}" for name in names for schedule in sd_schedulers.schedulers]


@torch.no_grad()
def draw(model: DiffusionModel, prompt: Conditioning, negative: Conditioning, settings: GenerateSettings,
         should_stop: Callable[[], bool]) -> list[Image.Image]:
    """See hosts.drawing.Drawing."""
    from modules import sd_samplers, sd_samplers_common

    lent = _Lent(model, _size_ids(model, settings), _everything_masked(model, settings), should_stop,
                 sd_samplers_common.InterruptedException)
    with _own_random_states(model.device), _in_place_of_the_hosts(lent):
        request = _request(settings)
        sampler = sd_samplers.create_sampler(request.sampler_name, lent)
        latents = sampler.sample(request, request.rng.next(), _scheduled(prompt, settings, is_positive=True),
                                 _scheduled(negative, settings, is_positive=False),
                                 image_conditioning=torch.zeros(settings.batch, 5, 1, 1, device=model.device))
    return [] if lent.is_stopped else [_image(pixels) for pixels in decoded(model, latents)]


class _Lent:
    """The lent model as the host's samplers ask for one."""

    cond_stage_key, model = "txt", types.SimpleNamespace(conditioning_key="crossattn")

    def __init__(self, lent: DiffusionModel, size_ids: Tensor | None, inpainting: Tensor | None,
                 should_stop: Callable[[], bool], stopped: type[BaseException]):
        self._lent, self._size_ids, self._inpainting = lent, size_ids, inpainting
        self._should_stop, self._stopped = should_stop, stopped
        self.is_stopped, self.is_sdxl = False, bool(lent.family.size_ids)
        self.parameterization = "v" if lent.prediction == "v" else "eps"
        self.alphas_cumprod, self.device = lent.alphas_cumprod.to(lent.device), lent.device
        self.sd_checkpoint_info = None

    @property
    def cond_stage_model_empty_prompt(self) -> Tensor:
        """What the shorter of two prompts is filled up with where the user's settings say so."""
        return conditioning_for(self._lent, "").hidden

    def apply_model(self, noisy: Tensor, timesteps: Tensor, cond: dict[str, Any]) -> Tensor:
        """(B, 4, h, w); `timesteps` are floats, as sigmas lie between two of them."""
        if self._should_stop():
            self.is_stopped = True
            raise self._stopped
        told = Conditioning(cond["crossattn"] if self.is_sdxl else cond["c_crossattn"][0], cond.get("vector"))
        count, dtype = len(noisy), self._lent.dtype
        answer = self._lent.predict(noisy.to(dtype), timesteps, told, _for_all(self._size_ids, count),
                                    _for_all(self._inpainting, count))
        return answer.to(noisy.dtype)


def _for_all(row: Tensor | None, count: int) -> Tensor | None:
    return None if row is None else row.expand(count, *row.shape[1:])


def _size_ids(model: DiffusionModel, settings: GenerateSettings) -> Tensor | None:
    """As the host tells SDXL (sd_models_xl.py, get_learned_conditioning)."""
    from modules import shared

    if not model.family.size_ids:
        return None
    side = (settings.height, settings.width)
    crop = (getattr(shared.opts, "sdxl_crop_top", 0), getattr(shared.opts, "sdxl_crop_left", 0))
    return torch.tensor([SizeIds(side, crop, side).row()], device=model.device)


def _everything_masked(model: DiffusionModel, settings: GenerateSettings) -> Tensor | None:
    """For an inpainting model: text to image paints all (processing.py, txt2img_image_conditioning)."""
    if not model.is_inpainting:
        return None
    shape = (settings.height, settings.width)
    return model.encode_masked(torch.zeros(1, 3, *shape), torch.ones(1, 1, *shape))


def _request(settings: GenerateSettings) -> Any:
    """What the samplers ask of StableDiffusionProcessing; the values that it takes from the user's settings, too."""
    from modules import rng, sd_samplers, shared

    sampler, schedule = sd_samplers.get_sampler_and_scheduler(settings.sampler, None, convert_automatic=False)
    seeds = [(settings.seed + index) % 2**32 for index in range(settings.batch)]
    return types.SimpleNamespace(
        steps=settings.steps, cfg_scale=settings.cfg_scale, sampler_name=sampler, scheduler=schedule, hr_scheduler=None,
        is_hr_pass=False, enable_hr=False, sampler_noise_scheduler_override=None, extra_generation_params={}, scripts=None,
        eta=None, s_churn=shared.opts.s_churn, s_tmin=shared.opts.s_tmin, s_tmax=shared.opts.s_tmax,
        s_noise=shared.opts.s_noise, s_min_uncond=shared.opts.s_min_uncond, image_cfg_scale=None, mask=None, nmask=None,
        refiner_switch_at=None, refiner_checkpoint_info=None, all_seeds=seeds, iteration=0, batch_size=settings.batch,
        rng=rng.ImageRNG((4, settings.height // 8, settings.width // 8), seeds))


def _scheduled(told: Conditioning, settings: GenerateSettings, *, is_positive: bool) -> Any:
    """`told` for all steps and images, in the host's own form (prompt_parser.py)."""
    from modules import prompt_parser

    value = told.hidden[0] if told.pooled is None else {"crossattn": told.hidden[0], "vector": told.pooled[0]}
    schedule = [prompt_parser.ScheduledPromptConditioning(settings.steps, value)]
    if not is_positive:
        return [schedule] * settings.batch
    composed = [prompt_parser.ComposableScheduledPromptConditioning(schedule)]
    return prompt_parser.MulticondLearnedConditioning(shape=(settings.batch,), batch=[composed] * settings.batch)


def _image(pixels: Tensor) -> Image.Image:
    """Of (3, H, W) in -1..1; the host cuts fractions of a level off."""
    levels = (pixels / 2 + 0.5).clamp(0, 1).nan_to_num() * 255
    return Image.fromarray(levels.byte().permute(1, 2, 0).cpu().numpy())


@dataclass(frozen=True)
class _Shared:
    """`modules.shared` with some names of ours."""

    theirs: Any
    ours: dict[str, Any]

    def __getattr__(self, name: str) -> Any:
        return self.ours[name] if name in self.ours else getattr(self.theirs, name)


@contextmanager
def _in_place_of_the_hosts(lent: _Lent) -> Iterator[None]:
    """Inside, the samplers' modules see `lent` as the loaded model, and write to a state and a progress bar of nobody's."""
    from modules import shared

    state = types.SimpleNamespace(interrupted=False, skipped=False, sampling_step=0, sampling_steps=0, current_latent=None,
                                  assign_current_image=_nothing)
    ours = _Shared(shared, {"sd_model": lent, "state": state, "parallel_processing_allowed": True,
                            "total_tqdm": types.SimpleNamespace(update=_nothing)})
    places = [sys.modules[f"modules.{name}"] for name in MODULES if f"modules.{name}" in sys.modules]
    wanted = {"shared": ours, "state": state, **dict.fromkeys(CALLBACKS, _nothing)}
    replaced = [(vars(place), name) for place in places for name in wanted if name in vars(place)]
    # Each of its samplings leaves its own random numbers there (sd_samplers_common.py, TorchHijack).
    replaced.append((vars(sys.modules["k_diffusion.sampling"]), "torch"))
    before = [names[name] for names, name in replaced]
    try:
        for names, name in replaced:
            names[name] = wanted.get(name, names[name])
        yield
    finally:
        for (names, name), value in zip(replaced, before, strict=True):
            names[name] = value


def _nothing(*_: Any) -> None:
    """Instead of a callback."""


@contextmanager
def _own_random_states(device: torch.device) -> Iterator[None]:
    """On exit torch's random states, which the host's noise seeds anew, are as before; and the host's own of that kind."""
    from modules import rng

    before = vars(rng).get("nv_rng")
    cards: Sequence[torch.device] = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=cards):
        try:
            yield
        finally:
            if before is None:
                vars(rng).pop("nv_rng", None)
            else:
                rng.nv_rng = before
