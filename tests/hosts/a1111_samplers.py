"""A small stand-in of AUTOMATIC1111's samplers (1.10.1), on top of a1111_standin: what they read and write, and Euler."""

import dataclasses
import types

import torch

from hosts.a1111_standin import fake_module

MODULES = ("prompt_parser", "rng", "sd_samplers", "sd_samplers_cfg_denoiser", "sd_samplers_common", "sd_schedulers")


class InterruptedException(BaseException):
    pass


class ImageRNG:
    """Seeds torch's global state, and the module's own generator, as randn does with each image's seed (rng.py)."""

    def __init__(self, module, shape, seeds):
        self.module, self.shape, self.seeds = module, shape, seeds

    def next(self):
        for seed in self.seeds:
            torch.manual_seed(seed)
            self.module.nv_rng = f"philox of {seed}"
        return torch.stack([torch.randn(self.shape, generator=torch.Generator().manual_seed(seed)) for seed in self.seeds])


class Samplers:
    """The stand-in; `callbacks` are those of other extensions."""

    def __init__(self, monkeypatch, webui):
        for name in MODULES:
            setattr(self, name, fake_module(monkeypatch, f"modules.{name}"))
        fake_module(monkeypatch, "k_diffusion")
        self.k_diffusion = fake_module(monkeypatch, "k_diffusion.sampling")
        self.k_diffusion.torch = torch
        self.callbacks = []
        vars(webui.shared.opts).update(s_churn=0.0, s_tmin=0.0, s_tmax=0.0, s_noise=1.0, s_min_uncond=0.0, pad_cond_uncond=False)
        webui.shared.total_tqdm = types.SimpleNamespace(update=lambda: self.callbacks.append("progress"))
        self.sd_samplers_cfg_denoiser.cfg_denoiser_callback = self.callbacks.append
        for module in (self.sd_samplers_common, self.sd_samplers_cfg_denoiser):
            module.shared, module.state = webui.shared, webui.shared.state
        self.sd_samplers_common.InterruptedException = InterruptedException
        self.sd_samplers.all_samplers = [types.SimpleNamespace(name="Euler"), types.SimpleNamespace(name="Heun")]
        self.sd_samplers.get_sampler_and_scheduler = lambda name, schedule, convert_automatic: (name, "Automatic")
        self.sd_samplers.create_sampler = lambda name, model: Euler(self, name, model)
        self.sd_schedulers.schedulers = [types.SimpleNamespace(label="Karras")]
        self.rng.ImageRNG = lambda shape, seeds: ImageRNG(self.rng, shape, seeds)
        self.prompt_parser.ScheduledPromptConditioning = lambda end_at_step, cond: types.SimpleNamespace(cond=cond)
        self.prompt_parser.ComposableScheduledPromptConditioning = lambda schedules: types.SimpleNamespace(schedules=schedules)
        self.prompt_parser.MulticondLearnedConditioning = lambda shape, batch: types.SimpleNamespace(batch=batch)


@dataclasses.dataclass
class Euler:
    """k-diffusion's, by the formula, with A1111's sigmas of the discrete schedule, and what it writes on its way."""

    host: Samplers
    name: str
    model: object

    def sample(self, p, x, cond, uncond, image_conditioning):
        shared = self.host.sd_samplers_common.shared
        assert shared.sd_model is self.model
        self.host.k_diffusion.torch = f"the random numbers of {p.rng}"
        alphas = self.model.alphas_cumprod.double()
        sigmas = ((1 - alphas) / alphas).sqrt()
        times = torch.linspace(len(sigmas) - 1, 0, p.steps, dtype=torch.float64)
        low = times.floor().long()
        logs = sigmas.log()
        levels = torch.lerp(logs[low], logs[(low + 1).clamp(max=len(sigmas) - 1)], times - low).exp()
        levels = torch.cat([levels, torch.zeros(1, dtype=torch.float64)])
        x = x.double() * levels[0]
        try:
            for index, time in enumerate(times):
                sigma, following = levels[index], levels[index + 1]
                self.host.sd_samplers_cfg_denoiser.cfg_denoiser_callback("a step")
                scaled = (x / (sigma**2 + 1).sqrt()).float().repeat(2, 1, 1, 1)
                told = self.told([row[0].schedules[0].cond for row in cond.batch] + [row[0].cond for row in uncond])
                answer = self.model.apply_model(scaled, time.float().expand(len(scaled)), cond=told).double()
                if self.model.parameterization == "v":
                    answer = answer * (1 / (sigma**2 + 1).sqrt()) + scaled.double() * sigma / (sigma**2 + 1).sqrt()
                with_prompt, without = answer.chunk(2)
                x = x + (without + (with_prompt - without) * p.cfg_scale) * (following - sigma)
                self.host.sd_samplers_common.state.sampling_step = index
                self.host.sd_samplers_common.state.current_latent = x
                shared.total_tqdm.update()
        except InterruptedException:
            pass
        return x.float()

    @staticmethod
    def told(values):
        if isinstance(values[0], dict):
            return {key: torch.stack([value[key] for value in values]) for key in values[0]} | {"c_concat": []}
        return {"c_crossattn": [torch.stack(values)], "c_concat": []}
