"""The samplers by the names that WebUIs give them: a table over diffusers' schedulers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import torch
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler, EulerAncestralDiscreteScheduler, EulerDiscreteScheduler
from torch import Tensor

from pivotal.models.families import Prediction


@dataclass(frozen=True)
class Sampler:
    """A scheduler of diffusers and what makes it the WebUI's."""

    scheduler: type
    options: Mapping[str, Any]


def _sampler(scheduler: type, **options: Any) -> Sampler:
    return Sampler(scheduler, MappingProxyType(options))


SAMPLERS: Mapping[str, Sampler] = MappingProxyType({
    # As k-diffusion, which the WebUIs use: timesteps are spaced evenly from the last to the first.
    "Euler": _sampler(EulerDiscreteScheduler, timestep_spacing="linspace"),
    "Euler a": _sampler(EulerAncestralDiscreteScheduler, timestep_spacing="linspace"),
    # A1111's automatic schedule type for it is Karras (modules/sd_samplers_kdiffusion.py).
    "DPM++ 2M": _sampler(DPMSolverMultistepScheduler, timestep_spacing="linspace", algorithm_type="dpmsolver++",
                         solver_order=2, use_karras_sigmas=True),
    # Stable Diffusion's own: every so many steps from 1 on, and the last jump goes to alphas_cumprod[0].
    "DDIM": _sampler(DDIMScheduler, timestep_spacing="leading", clip_sample=False, set_alpha_to_one=False),
})


def make_scheduler(name: str, alphas_cumprod: Tensor, prediction: Prediction) -> Any:
    """A fresh scheduler.

    Args:
        name: one of `SAMPLERS`.
        alphas_cumprod: (T,) the model's schedule.

    Raises:
        ValueError: names the samplers there are.
    """
    if name not in SAMPLERS:
        raise ValueError(f"no sampler is called {name!r}; there are {', '.join(SAMPLERS)}")
    sampler = SAMPLERS[name]
    alphas = alphas_cumprod.cpu().double()
    before = torch.cat([torch.ones(1, dtype=torch.float64), alphas[:-1]])
    return sampler.scheduler(
        num_train_timesteps=len(alphas),
        trained_betas=(1 - alphas / before).tolist(),
        prediction_type={"epsilon": "epsilon", "v": "v_prediction"}[prediction],
        steps_offset=1,  # only "leading" reads it; the pipelines complain of anything else
        **sampler.options,
    )
