"""A small stand-in of reForge, as seen with main at 3b56b268: AUTOMATIC1111's surface over models of ComfyUI's making."""

import types
from collections import namedtuple

import torch
from torch import nn

from hosts.a1111_standin import Webui, fake_module, live_model
from tiny import tiny_model

TEXT = {"sd1": ["clip_l"], "sd2": ["clip_h"], "sdxl": ["clip_l", "clip_g"]}
CLIP = namedtuple("CLIP", ["cond_stage_model", "patcher"])


class EPS:
    """As model_sampling.EPS."""


class V_PREDICTION(EPS):  # noqa: N801  as there
    """As model_sampling.V_PREDICTION."""


class BaseModel(nn.Module):
    """As model_base.BaseModel: a UNet with its schedule."""

    def __init__(self, unet, kind, config):
        super().__init__()
        self.diffusion_model = unet
        alphas = torch.linspace(0.999, 0.0047, 1000)
        made = type("ModelSampling", (nn.Module, kind), {})
        self.model_sampling = made()
        self.model_sampling.register_buffer("sigmas", ((1 - alphas) / alphas) ** 0.5)
        self.model_config = types.SimpleNamespace(unet_config=config)


class Patcher:
    """As ModelPatcher: a merged LoRA gets parameters of its own, and the ones before are put back (model_patcher.py)."""

    def __init__(self, model):
        self.model, self.backup = model, {}

    def merge(self, module, key):
        """What a generation with a LoRA leaves behind; the new parameter is an inference tensor."""
        self.backup[module, key] = module._parameters[key]
        with torch.inference_mode():
            setattr(module, key, nn.Parameter(module._parameters[key] + 1, requires_grad=False))

    def unpatch(self):
        for (module, key), weight in self.backup.items():
            setattr(module, key, nn.Parameter(weight, requires_grad=False))
        self.backup.clear()


def reforge_model(family, info, kind=EPS, inference=True):
    """A1111's model with `forge_objects_original`; all tensors made in inference mode, as after a switch."""
    with torch.inference_mode(inference):
        root = live_model(family, info)
        clip = nn.Module()
        for name, module in zip(TEXT[family], _text_encoders(root, family), strict=True):
            part = nn.Module()
            part.transformer = module
            if name == "clip_g":  # its projection stands outside, as it was in the file (sd1_clip.py)
                projection = module._modules.pop("text_projection").weight
                part.text_projection = nn.Parameter(projection.t().contiguous(), requires_grad=False)
            clip.add_module(name, part)
    root.is_sd1, root.is_sd2 = family != "sdxl", False  # is_sd2 is never true there
    config = {"num_heads": 8 if family == "sd1" else -1, "num_head_channels": -1 if family == "sd1" else 64}
    unet, vae = Patcher(BaseModel(root.model.diffusion_model, kind, config)), Patcher(root.first_stage_model)
    vae.first_stage_model, vae.patcher = root.first_stage_model, vae
    root.forge_objects_original = types.SimpleNamespace(unet=unet, clip=CLIP(clip, Patcher(clip)), vae=vae)
    root.forge_objects = root.forge_objects_original
    root.current_lora_hash, root.loaded_vae_file, root.ztsnr = "[]", None, False
    return root


def _text_encoders(root, family):
    """With transformers' names: SD 1's are so in the file; an OpenCLIP is converted when it is loaded."""
    first = root.cond_stage_model.wrapped if family != "sdxl" else root.conditioner.embedders._modules["0"].wrapped
    made = [first.transformer] if family != "sd2" else []
    if family != "sd1":
        converted = tiny_model(family).text_encoders[-1].module
        holder = nn.Module()
        for name, tensor in converted.state_dict().items():
            if not name.startswith("text_"):  # transformers >= 5.6, which no host has, leaves the first part out
                name = f"text_model.{name}"
            module = holder
            *path, last = name.replace("token_embedding.weight", "token_embedding.wrapped.weight").split(".")
            for part in path:
                if part not in module._modules:
                    module.add_module(part, nn.Module())
                module = module._modules[part]
            setattr(module, last, nn.Parameter(tensor.clone(), requires_grad=False))
        made.append(holder)
    return made


class ReforgeWebui(Webui):
    """The stand-in, and what was asked of it."""

    def __init__(self, monkeypatch, folder, family="sd1", **how):
        super().__init__(monkeypatch, folder, family)
        for name in ("modules_forge", "ldm_patched", "ldm_patched.modules", "ldm_patched.modules.model_management"):
            self.management = fake_module(monkeypatch, name)
        self.networks = fake_module(monkeypatch, "networks")
        self.networks.listed = 0
        self.networks.load_lora_state_dict = types.SimpleNamespace(cache_clear=self._clear)
        self.networks.list_available_networks = lambda: None
        self.networks.loaded_networks, self.networks.BundledTIHash = [], str
        self.cleared = 0
        self.add_extra_networks(monkeypatch)
        self.management.load_models_gpu = self._load
        self.management.get_torch_device = lambda: torch.device("cpu")
        self.caches[:] = [["prompt", "conditioning", {}] for _ in range(4)]
        processing = self.processing
        processing.StableDiffusionProcessing.cached_c, processing.StableDiffusionProcessing.cached_uc = self.caches[:2]
        processing.StableDiffusionProcessingTxt2Img.cached_hr_c = self.caches[2]
        processing.StableDiffusionProcessingTxt2Img.cached_hr_uc = self.caches[3]
        self.model = reforge_model(family, self.infos["loaded"], **how)
        self.shared.sd_model = self.sd_models.model_data.sd_model = self.model

    def add_extra_networks(self, monkeypatch):
        """LoRAs as a kind of extra network, with their alias; and AUTOMATIC1111's table of embeddings."""
        extra = self.extra_networks = fake_module(monkeypatch, "modules.extra_networks")
        extra.extra_network_registry, extra.extra_network_aliases = {}, {}
        extra.register_extra_network = lambda kind: extra.extra_network_registry.update({kind.name: kind})
        extra.register_extra_network_alias = lambda kind, alias: extra.extra_network_aliases.update({alias: kind})
        self.loras = types.SimpleNamespace(name="lora", activate=self._activate, deactivate=lambda p: None)
        extra.register_extra_network(self.loras)
        extra.register_extra_network_alias(self.loras, "lyco")
        table = self.database
        table.expected_shape = table.width
        table.register_embedding = lambda one, model: table.word_embeddings.update({one.name: one})
        table.register_embedding_by_name = lambda one, model, name: table.word_embeddings.pop(name)
        self.textual_inversion = fake_module(monkeypatch, "modules.textual_inversion.textual_inversion")
        self.textual_inversion.create_embedding_from_data = lambda data, name, filename: types.SimpleNamespace(
            name=name, vectors=len(next(iter(data.values()))), shape=sum(part.shape[1] for part in data.values()), **data)

    def _activate(self, p, params):
        self.networks.loaded_networks[:] = [types.SimpleNamespace(network_on_disk=types.SimpleNamespace(filename=str(file)))
                                            for file in params]

    def prompt(self, *files, tag="lora"):
        """The embeddings that a prompt with LoRAs finds; every kind of network hears of every prompt."""
        extra = self.extra_networks
        named = extra.extra_network_registry.get(tag) or extra.extra_network_aliases[tag]
        named.activate(None, list(files))
        for kind in extra.extra_network_registry.values():
            if kind is not named:
                kind.activate(None, [])
        return dict(self.database.word_embeddings)

    def _clear(self):
        self.cleared += 1

    def _load(self, patchers):
        """Patchers without patches bring their model back to what it was."""
        for patcher in patchers:
            patcher.unpatch()

    def reload(self, info, forced_reload=False):
        """Each checkpoint gets a model of its own; the one before loses its parts (complete_model_teardown)."""
        self.loads.append((info.name, forced_reload))
        self.model.model = self.model.first_stage_model = None
        self.model = reforge_model("sd1", info)
        self.shared.sd_model = self.sd_models.model_data.sd_model = self.model
        return self.model
