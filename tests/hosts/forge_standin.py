"""A stand-in of Forge's modules (f2.0.1v1.10.1, commit dfdcbab6) that has what its adapter trips over, written from the facts:
lazy loading, inference tensors, LoRAs that replace weights and stay, a token table listed twice, memories by file name."""

from __future__ import annotations

import functools
import importlib.machinery
import sys
import threading
import types
from collections import deque
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import nn

from fake_host import tokenizer
from pivotal.models.ldm_layout import ENCODERS, UNET, VAE
from pivotal.models.ldm_layout_text import open_clip_tensors
from tiny import tiny_tensors, write_tiny

MODULES = ("modules", "modules.shared", "modules.call_queue", "modules.script_callbacks", "modules.progress",
           "modules.sd_models", "modules.paths",
           "modules.processing", "modules.extra_networks", "modules_forge", "backend", "backend.memory_management",
           "backend.diffusion_engine", "backend.text_processing", "backend.text_processing.textual_inversion", "networks")
ENGINES = {"sd1": ("clip_l",), "sd2": ("clip_h",), "sdxl": ("clip_l", "clip_g")}
WIDTHS = {"sd1": 32, "sd2": 64, "sdxl": 96}  # of all a family's encoders together, in tests/tiny.py


def fake_module(monkeypatch, name):
    module = types.ModuleType(name)
    module.__spec__ = importlib.machinery.ModuleSpec(name, None, is_package=True)
    module.__path__ = []
    monkeypatch.setitem(sys.modules, name, module)
    parent, _, last = name.rpartition(".")
    if parent:
        setattr(sys.modules[parent], last, module)
    return module


def tree(tensors):
    """Modules with parameters of these names."""
    root = nn.Module()
    for name, tensor in tensors.items():
        module = root
        *path, last = name.split(".")
        for part in path:
            if part not in module._modules:
                module.add_module(part, nn.Module())
            module = module._modules[part]
        setattr(module, last, nn.Parameter(tensor.clone()))
    return root


def below(tensors, prefix):
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


class TokenTable(nn.Module):
    """CLIPEmbeddingForTextualInversion: the same Parameter under two names."""

    def __init__(self, wrapped):
        super().__init__()
        self.wrapped = wrapped
        self.weight = wrapped.weight


class Patcher:
    """ModelPatcher and LoraLoader: a LoRA gets Parameters of its own, and the old ones come back when asked for."""

    def __init__(self, model):
        self.model = model
        self.backup = {}
        self.lora_loader = types.SimpleNamespace(loaded_hash="[]")

    def merge(self, module, key):
        self.backup[module, key] = module._parameters[key]
        module._parameters[key] = nn.Parameter(module._parameters[key] + 1, requires_grad=False)

    def restore(self):
        for (module, key), weight in self.backup.items():
            module._parameters[key] = weight
        self.backup.clear()


@dataclass
class ForgeObjects:
    """The parts of a model, one of which a LoRA takes the place of."""

    unet: Any
    clip: Any
    vae: Any

    def shallow_copy(self):
        return replace(self)


class Database:
    """EmbeddingDatabase; reads a file in whole, and skips what is not of its width."""

    def __init__(self, expected_shape):
        self.expected_shape = expected_shape
        self.word_embeddings, self.skipped_embeddings = {}, {}

    def load_from_file(self, path, filename):
        embedding = create_embedding_from_data(load_file(path), Path(filename).stem)
        if embedding.shape == self.expected_shape:
            self.register_embedding(embedding)
        else:
            self.skipped_embeddings[embedding.name] = embedding

    def register_embedding(self, embedding):
        self.register_embedding_by_name(embedding, embedding.name)

    def register_embedding_by_name(self, embedding, name):
        if embedding is None:
            del self.word_embeddings[name]
        else:
            self.word_embeddings[name] = embedding


def create_embedding_from_data(data, name, filename="", filepath=None):
    if "string_to_param" in data:
        tensors = list(data["string_to_param"].values())
    else:
        tensors = [data[key] for key in ("clip_l", "clip_g")] if "clip_g" in data else list(data.values())
    vec = dict(zip(("clip_l", "clip_g"), tensors, strict=True)) if len(tensors) == 2 else tensors[0]
    return types.SimpleNamespace(name=name, vec=vec, vectors=len(tensors[0]), filename=filepath,
                                 shape=sum(tensor.shape[1] for tensor in tensors))


class Engine:
    """ClassicTextProcessingEngine."""

    def __init__(self, key, family):
        self.embedding_key, self.tokenizer = key, tokenizer()
        self.embeddings = Database(WIDTHS[family])


class FakeInitialModel:
    """What stands in `sd_model` before anything is loaded: neither None nor a model."""

    cond_stage_model = None


class DiffusionEngine:
    """backend.diffusion_engine's StableDiffusion, ...2 or ...XL."""

    def __init__(self, family, info, inputs=4):
        tensors = tiny_tensors(family, inputs=inputs)
        for one in ("sd1", "sd2", "sdxl"):
            setattr(self, f"is_{one}", one == family)
        self.sd_checkpoint_info, self.current_lora_hash = info, "[]"
        self.model_config = types.SimpleNamespace(ztsnr=False)
        unet = tree(below(tensors, UNET))
        unet.config = {"num_heads": 8, "num_head_channels": -1} if family == "sd1" else {"num_heads": -1,
                                                                                        "num_head_channels": 64}
        predictor = types.SimpleNamespace(prediction_type="v_prediction" if family == "sd2" else "epsilon",
                                          alphas_cumprod=torch.linspace(0.999, 0.0047, 1000))
        kmodel = types.SimpleNamespace(diffusion_model=unet, storage_dtype=torch.float32, predictor=predictor)
        encoders = nn.ModuleDict({key: text_encoder(tensors, family, key) for key in ENGINES[family]})
        self.forge_objects_original = ForgeObjects(
            Patcher(kmodel), types.SimpleNamespace(cond_stage_model=encoders, patcher=Patcher(encoders)),
            types.SimpleNamespace(first_stage_model=tree(below(tensors, VAE)), patcher=Patcher(None)))
        self.forge_objects = self.forge_objects_original.shallow_copy()
        self.forge_objects_after_applying_lora = self.forge_objects_original.shallow_copy()
        self.unet = unet
        for key in ENGINES[family]:
            suffix = "" if len(ENGINES[family]) == 1 else key[-2:]
            setattr(self, f"text_processing_engine{suffix}", Engine(key, family))


def text_encoder(tensors, family, key):
    """Under transformers' names whatever the file's; SD 2 without its last layer; with a token table that is wrapped."""
    encoder = below(tensors, ENCODERS[family][ENGINES[family].index(key)])
    if key != "clip_l":
        encoder = open_clip_tensors(encoder, projection=key == "clip_g")
    if key == "clip_h":
        encoder = {name: tensor for name, tensor in encoder.items() if ".layers.2." not in name}
    made = tree({f"transformer.{name}": tensor for name, tensor in encoder.items()})
    embeddings = made.transformer.text_model.embeddings
    embeddings.token_embedding = TokenTable(embeddings.token_embedding)
    return made


class FifoLock:
    """modules/fifo_lock.py, with the two attributes by which one can see who waits."""

    def __init__(self):
        self._lock, self._inner_lock, self._pending_threads = threading.Lock(), threading.Lock(), deque()

    def acquire(self):
        with self._inner_lock:
            if self._lock.acquire(blocking=False):
                return
            turn = threading.Event()
            self._pending_threads.append(turn)
        turn.wait()
        self._lock.acquire()

    def release(self):
        with self._inner_lock:
            if self._pending_threads:
                self._pending_threads.popleft().set()
            self._lock.release()

    def locked(self):
        return self._lock.locked()

    def __enter__(self):
        self.acquire()

    def __exit__(self, *_):
        self.release()


class State:
    """The part of shared_state.State that jobs and Interrupt go through."""

    interrupted, job, sampling_steps = False, "", 20

    def begin(self, job):
        self.job, self.interrupted = job, False

    def end(self):
        self.job = ""

    def interrupt(self):
        self.interrupted = True

    def request_restart(self):
        self.interrupt()


class ExtraNetworkLora:
    """The built-in extension's kind of network; knows nothing of bundles."""

    name = "lora"

    def __init__(self, webui):
        self.webui = webui

    def activate(self, p, params_list):
        self.webui.networks.loaded_networks[:] = [
            types.SimpleNamespace(network_on_disk=types.SimpleNamespace(filename=str(self.webui.loras / f"{name}.safetensors")))
            for name in params_list]

    def deactivate(self, p):
        pass


class Forge:
    """The stand-in, and what was asked of it."""

    def __init__(self, monkeypatch, folder, family="sd1", inputs=4):
        for name in MODULES:
            setattr(self, name.rpartition(".")[2], fake_module(monkeypatch, name))
        self.progress.current_task = None
        self.progress.start_task = lambda task: setattr(self.progress, "current_task", task)
        self.family, self.inputs, self.fails, self.loads = family, inputs, False, []
        self.loras = folder / "models" / "Lora"
        self.loras.mkdir(parents=True)
        self.paths.data_path = str(folder)
        self.infos = {name: types.SimpleNamespace(
            name=f"{name}.safetensors", filename=str(write_tiny(folder / f"{name}.safetensors", family, inputs=inputs)),
            metadata={"modelspec.resolution": "64x64"}) for name in ("chosen", "v1.5 other")}
        self._make_shared(folder)
        self.sd_models.checkpoints_list = {f"{info.name} [hash]": info for info in self.infos.values()}
        self.sd_models.forge_model_reload = self.reload
        self.data = self.sd_models.model_data = types.SimpleNamespace(
            sd_model=FakeInitialModel(), forge_hash="", forge_loading_parameters={"checkpoint_info": self.infos["chosen"]})
        self.memory_management.get_torch_device = lambda: torch.device("cpu")
        self.memory_management.load_models_gpu = lambda patchers: [patcher.restore() for patcher in patchers]
        self.textual_inversion.create_embedding_from_data = create_embedding_from_data
        self._make_networks()

    def _make_shared(self, folder):
        self.shared.state, self.call_queue.queue_lock = State(), FifoLock()
        self.shared.opts = types.SimpleNamespace(sd_noise_schedule="Default", CLIP_stop_at_last_layers=1)
        self.shared.cmd_opts = types.SimpleNamespace(embeddings_dir=str(folder / "embeddings"), lora_dir=str(self.loras))
        self.caches = [["prompt", "conditioning", None] for _ in range(4)]
        self.processing.StableDiffusionProcessing = types.SimpleNamespace(cached_c=self.caches[0], cached_uc=self.caches[1])
        self.processing.StableDiffusionProcessingTxt2Img = types.SimpleNamespace(
            cached_hr_c=self.caches[2], cached_hr_uc=self.caches[3])

    def _make_networks(self):
        """networks.py with its memory by file name, and the register of kinds of networks."""
        self.networks.loaded_networks, self.listed = [], 0
        self.networks.list_available_networks = lambda: setattr(self, "listed", self.listed + 1)

        @functools.lru_cache(maxsize=5)
        def load_lora_state_dict(filename):
            with safe_open(filename, framework="pt") as opened:
                return {key: opened.get_tensor(key).clone() for key in opened.keys()}

        self.networks.load_lora_state_dict = load_lora_state_dict
        self.kinds = self.extra_networks.extra_network_registry = {"lora": ExtraNetworkLora(self)}
        self.extra_networks.register_extra_network = lambda kind: self.kinds.update({kind.name: kind})

    def reload(self):
        """sd_models.forge_model_reload: what is chosen, unless the marks say that it is loaded already."""
        chosen = str(self.data.forge_loading_parameters)
        if self.data.forge_hash == chosen:
            return self.data.sd_model, False
        self.data.sd_model = None
        info = self.data.forge_loading_parameters["checkpoint_info"]
        self.loads.append(info.name)
        if self.fails:
            raise ValueError("Failed to recognize model type!")
        with torch.inference_mode():
            self.data.sd_model = DiffusionEngine(self.family, info, self.inputs)
        self.data.forge_hash = chosen
        return self.data.sd_model, True

    def choose(self, name):
        """What the page does when another checkpoint is chosen."""
        self.data.forge_loading_parameters = {"checkpoint_info": self.infos[name]}

    def wait(self, work):
        """`work` in another thread that has to wait for the lock; returns once it waits."""
        def locked():
            with self.call_queue.queue_lock:
                work()

        before = len(self.call_queue.queue_lock._pending_threads)
        thread = threading.Thread(target=locked, daemon=True)
        thread.start()
        while len(self.call_queue.queue_lock._pending_threads) == before and thread.is_alive():
            thread.join(0.001)
        return thread


# A network of one layer, which a stand-in needs to have something to load.
LAYER = {"lora_unet_mid_block_attentions_0_proj_in": {"lora_up.weight": torch.zeros(64, 1), "alpha": torch.tensor(1.0),
                                                      "lora_down.weight": torch.zeros(1, 64)}}


def borrowed(host, work, checkpoint=""):
    """What `work` makes of the lent model."""

    def inside():
        with host.borrow(checkpoint) as model:
            return work(model)

    return host.run(inside)
