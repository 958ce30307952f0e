"""A small stand-in of AUTOMATIC1111's `modules` package, as seen with 1.10.1; tests/host drives the real one."""

import importlib.machinery
import sys
import threading
import time
import types
from collections import deque

import torch
from safetensors.torch import load_file
from torch import nn

from fake_host import tokenizer
from tiny import tiny_tensors

MODULES = ("call_queue", "devices", "paths", "processing", "progress", "script_callbacks", "sd_hijack", "sd_hijack_open_clip",
           "sd_models", "shared", "textual_inversion", "textual_inversion.textual_inversion", "ui")


def fake_module(monkeypatch, name):
    module = types.ModuleType(name)
    module.__spec__ = importlib.machinery.ModuleSpec(name, None, is_package=True)
    module.__path__ = []
    monkeypatch.setitem(sys.modules, name, module)
    parent, _, last = name.rpartition(".")
    if parent:
        setattr(sys.modules[parent], last, module)
    return module


def live_name(name):
    """A checkpoint's name of a tensor as A1111's hijacked model has it."""
    name = name.replace("cond_stage_model.", "cond_stage_model.wrapped.")
    for number in "01":
        name = name.replace(f"conditioner.embedders.{number}.", f"conditioner.embedders.{number}.wrapped.")
    return name.replace("token_embedding.weight", "token_embedding.wrapped.weight")


def live_model(family, info, inputs=4):
    """Modules with the names and tensors of A1111's sd_model; the UNet's parameters want gradients, as they do there."""
    root = nn.Module()
    for name, tensor in tiny_tensors(family, inputs=inputs).items():
        module = root
        *path, last = live_name(name).split(".")
        for part in path:
            if part not in module._modules:
                module.add_module(part, nn.Module())
            module = module._modules[part]
        wants = name.startswith("model.")
        setattr(module, last, nn.Parameter(tensor.clone(), requires_grad=wants))
    encoders = [root.cond_stage_model] if family != "sdxl" else list(root.conditioner.embedders.children())
    for encoder in encoders:
        encoder.tokenize = lambda texts: texts
        if hasattr(encoder.wrapped, "transformer"):
            encoder.tokenizer = tokenizer()
    if family == "sdxl":
        object.__setattr__(root, "cond_stage_model", types.SimpleNamespace(embedders=[*encoders, nn.Module()]))
    for one in ("sd1", "sd2", "sdxl"):
        setattr(root, f"is_{one}", one == family)
    root.parameterization = "v" if family == "sd2" else "eps"
    root.alphas_cumprod_original = torch.linspace(0.999, 0.0047, 1000)
    root.sd_checkpoint_info = info
    return root.eval()


class State:
    """The part of shared_state.State (1.10.1) that jobs and Interrupt go through."""

    interrupted, job, sampling_steps = False, "", 20

    def begin(self, job):
        self.job, self.interrupted = job, False

    def end(self):
        self.job = ""

    def interrupt(self):
        self.interrupted = True

    def request_restart(self):
        self.interrupt()


class FIFOLock:
    """The part of modules/fifo_lock.py (1.10.1): not re-entrant; a release wakes who has waited longest."""

    def __init__(self):
        self._lock, self._inner_lock, self._pending_threads = threading.Lock(), threading.Lock(), deque()

    def acquire(self):
        with self._inner_lock:
            if self._lock.acquire(False):
                return True
            released = threading.Event()
            self._pending_threads.append(released)
        released.wait()
        return self._lock.acquire()

    def release(self):
        with self._inner_lock:
            if self._pending_threads:
                self._pending_threads.popleft().set()
            self._lock.release()

    __enter__ = acquire

    def __exit__(self, *_):
        self.release()

    def locked(self):
        return self._lock.locked()


class EmbeddingDatabase:
    """Reads a folder; knows embeddings of the model's width, and skips others."""

    def __init__(self, folder, width):
        self.folder, self.width = folder, width
        self.word_embeddings, self.skipped_embeddings = {}, {}

    def load_textual_inversion_embeddings(self, force_reload=False):
        assert force_reload
        for path in self.folder.glob("*.safetensors"):
            tensor = load_file(path)["emb_params"]
            fits = tensor.shape[1] == self.width
            found = self.word_embeddings if fits else self.skipped_embeddings
            found[path.stem] = types.SimpleNamespace(vectors=len(tensor), vec=tensor)


class Webui:
    """The fake, and what was asked of it."""

    def __init__(self, monkeypatch, folder, family="sd1", inputs=4):
        fake_module(monkeypatch, "modules")
        for name in MODULES:
            setattr(self, name.rpartition(".")[2], fake_module(monkeypatch, f"modules.{name}"))
        self.progress.current_task = None
        self.progress.start_task = lambda task: setattr(self.progress, "current_task", task)
        (folder / "embeddings").mkdir()
        self.infos = {name: types.SimpleNamespace(name=f"{name}.safetensors", metadata={"modelspec.resolution": "64x64"},
                                                  filename=str(folder / f"{name}.safetensors"))
                      for name in ("loaded", "v1.5 other")}
        self.model = live_model(family, self.infos["loaded"], inputs)
        self.shared.sd_model, self.shared.state = self.model, State()
        self.shared.opts = types.SimpleNamespace(sd_noise_schedule="Default", CLIP_stop_at_last_layers=1,
                                                 sdxl_clip_l_skip=False, sd_model_checkpoint="loaded.safetensors")
        self.shared.cmd_opts = types.SimpleNamespace(embeddings_dir=str(folder / "embeddings"))
        self.paths.models_path, self.paths.data_path = str(folder / "models"), str(folder)
        self.devices.device, self.devices.fp8 = "cpu", False
        self.call_queue.queue_lock = FIFOLock()
        self.sd_models.model_data = types.SimpleNamespace(sd_model=self.model)
        self.sd_models.checkpoints_list = {f"{info.name} [hash]": info for info in self.infos.values()}
        self.sd_models.checkpoint_aliases = {info.name: info for info in self.infos.values()}
        self.sd_models.SkipWritingToConfig = threading.Lock
        self.sd_models.reload_model_weights = self.reload
        self.loads, self.fails = [], False
        self.database = EmbeddingDatabase(folder / "embeddings", 32)
        self.sd_hijack.model_hijack = types.SimpleNamespace(embedding_db=self.database)
        self.sd_hijack_open_clip.tokenizer = types.SimpleNamespace(
            encode=lambda text: tokenizer()(text, add_special_tokens=False)["input_ids"], encoder={}, decoder={})
        self.caches = [["prompt", "conditioning"] for _ in range(4)]
        self.processing.StableDiffusionProcessing = types.SimpleNamespace(cached_c=self.caches[0], cached_uc=self.caches[1])
        self.processing.StableDiffusionProcessingTxt2Img = types.SimpleNamespace(
            cached_hr_c=self.caches[2], cached_hr_uc=self.caches[3])

    def reload(self, info, forced_reload=False):
        self.loads.append((info.name, forced_reload))
        if self.fails and info is not self.infos["loaded"]:
            raise RuntimeError("HeaderTooLarge")
        self.model.sd_checkpoint_info = info
        return self.model


    def wait(self, work):
        """Lets another thread ask for the lock and do `work` with it; returns when it waits."""
        def generate():
            with self.call_queue.queue_lock:
                work()

        waiting = len(self.call_queue.queue_lock._pending_threads)
        asked = threading.Thread(target=generate, daemon=True)
        asked.start()
        until = time.monotonic() + 20
        while len(self.call_queue.queue_lock._pending_threads) == waiting:
            assert time.monotonic() < until, "nobody waits"
            time.sleep(0.001)
        return asked


def borrowed(host, work, checkpoint=""):
    def inside():
        with host.borrow(checkpoint) as model:
            return work(model)

    return host.run(inside)
