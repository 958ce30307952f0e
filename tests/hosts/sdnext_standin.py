"""A small stand-in of SD.Next's `modules` package, as seen with 058a7f0; tests/host drives the real one."""

import threading
import time
import types
from pathlib import Path

import torch
from diffusers import DDPMScheduler
from safetensors.torch import load_file
from torch import nn

from fake_host import tokenizer
from hosts.a1111_standin import fake_module
from pivotal.models.build import build_model
from tiny import tiny_tensors

MODULES = ("call_queue", "devices", "lora", "lora.lora_common", "lora.lora_load", "modeldata", "paths", "processing",
           "processing_diffusers", "progress", "prompt_parser_diffusers", "script_callbacks", "sd_checkpoint", "sd_models",
           "sd_models_utils", "shared")


class State:
    """The part of shared_state.State that jobs, their progress and Interrupt go through."""

    interrupted, job, begun = False, "", 0

    def begin(self, title="", task_id=0, api=None):
        self.job, self.interrupted = title, False
        self.job_no, self.job_count, self.sampling_step, self.sampling_steps, self.textinfo = 0, 1, 0, 0, None
        self.time_start = time.time()
        self.begun += 1
        return f"id{self.begun}"

    def end(self, task_id=None, api=None):
        assert task_id == f"id{self.begun}"
        self.job = ""

    def interrupt(self):
        self.interrupted = True


class Tokenizer:
    """What becomes of a pipeline's tokenizer: one more token for each vector of each embedding, and none ever less."""

    backend_tokenizer = None

    def __init__(self):
        self._added_tokens_encoder = {"<|startoftext|>": 49406, "<|endoftext|>": 49407}
        self._added_tokens_decoder = {}

    @property
    def added_tokens_encoder(self):
        return self._added_tokens_encoder

    def add(self, token):
        number = self._added_tokens_encoder.setdefault(token, 49406 + len(self._added_tokens_encoder))
        self._added_tokens_decoder[number] = token
        return number

    def expanded(self, word):
        """The tokens of an embedding in a prompt (prompt_parser_diffusers.py, _maybe_convert_prompt)."""
        found = [word] if word in self._added_tokens_encoder else []
        while found and f"{word}_{len(found)}" in self._added_tokens_encoder:
            found.append(f"{word}_{len(found)}")
        return found


class EmbeddingDatabase:
    """Reads a folder into the tokenizer and the token table of the text encoder (textual_inversion.py)."""

    def __init__(self, pipe, folder):
        self.pipe, self.folder = pipe, folder
        self.word_embeddings, self.skipped_embeddings = {}, {}

    def load_textual_inversion_embeddings(self, force_reload=False):
        assert force_reload
        self.word_embeddings.clear()
        self.skipped_embeddings.clear()
        encoders = [part for name, part in self.pipe.components.items() if name.startswith("text_encoder")]
        tables = {encoder.get_input_embeddings().weight.shape[1]: encoder.get_input_embeddings() for encoder in encoders}
        for path in sorted(self.folder.glob("*.safetensors")):
            vectors = {tensor.shape[1]: tensor for tensor in load_file(path).values()}  # by width, whatever their keys
            if vectors.keys() != tables.keys():
                self.skipped_embeddings[path.stem] = None
                continue
            count = len(next(iter(vectors.values())))
            tokens = [path.stem] + [f"{path.stem}_{index}" for index in range(1, count)]
            numbers = [[tokenizer.add(token) for tokenizer in self.pipe.tokenizers] for token in tokens]
            for width, table in tables.items():
                missing = 1 + numbers[-1][0] - len(table.weight)
                table.weight.data = torch.cat([table.weight.data, torch.zeros(max(missing, 0), width)])
                table.weight.data[[number for number, *_ in numbers]] = vectors[width]
            self.word_embeddings[path.stem] = types.SimpleNamespace(tokens=tokens)


class StableDiffusionPipeline:
    """A diffusers pipeline as the host has it, on a tiny checkpoint; its parameters want gradients, as they do there."""

    def __init__(self, family, info, folder, inputs=4, dtype=torch.float32):
        # Of their own: each load reads the file anew.
        tensors = {name: tensor.clone() for name, tensor in tiny_tensors(family, dtype=dtype, inputs=inputs).items()}
        model = build_model(tensors, tokenizer=tokenizer(), resolution=64)
        self.unet, self.vae, self.text_encoder = model.unet, model.vae, model.text_encoders[0].module
        self.tokenizer, self.tokenizer_2 = Tokenizer(), None
        if family == "sdxl":
            self.text_encoder_2, self.tokenizer_2 = model.text_encoders[1].module, Tokenizer()
        self.tokenizers = [tokenizer for tokenizer in (self.tokenizer, self.tokenizer_2) if tokenizer is not None]
        self.components = {name: part for name, part in vars(self).items() if isinstance(part, nn.Module)}
        for part in self.components.values():
            part.requires_grad_(True)
        prediction = "v_prediction" if family == "sd2" else "epsilon"
        self.default_scheduler = DDPMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear",
                                               prediction_type=prediction)
        self.scheduler = DDPMScheduler(prediction_type="sample")  # what the last sampler left
        self.sd_checkpoint_info, self.loaded_loras = info, {}
        self.embedding_db = EmbeddingDatabase(self, folder)

    def other_task(self):
        """Another pipeline of the same modules, as img2img makes one (sd_models.py, switch_pipe)."""
        other = object.__new__(StableDiffusionPipeline)
        vars(other).update(vars(self))
        return other


class FluxPipeline:
    """One of the many that have no UNet."""

    def __init__(self, info):
        self.transformer, self.sd_checkpoint_info = nn.Linear(2, 2), info


class SdNext:
    """The stand-in, and what was asked of it."""

    def __init__(self, monkeypatch, folder, family="sd1", inputs=4, dtype=torch.float32):
        fake_module(monkeypatch, "modules")
        for name in MODULES:
            setattr(self, name.rpartition(".")[2], fake_module(monkeypatch, f"modules.{name}"))
        self.family, self.inputs, self.dtype, self.folder = family, inputs, dtype, folder
        self.embeddings, self.loras = folder / "models" / "embeddings", folder / "models" / "Lora"
        self.embeddings.mkdir(parents=True)
        self.infos = {name: types.SimpleNamespace(name=name, title=f"{name} [hash]", filename=str(folder / "models" / name))
                      for name in ("Diffusers/loaded", "v1.5 other")}
        for info in self.infos.values():
            Path(info.filename).mkdir(parents=True)
        distant = types.SimpleNamespace(name="huggingface/distant", title="huggingface/distant", filename="huggingface/distant")
        self.sd_checkpoint.checkpoints_list = {info.title: info for info in [*self.infos.values(), distant]}
        self.modeldata.model_data = types.SimpleNamespace(sd_model=self.made(self.infos["Diffusers/loaded"]))
        self.shared.sd_model, self.shared.state = self.pipe, State()
        self.shared.opts = types.SimpleNamespace(embeddings_dir=str(self.embeddings), lora_dir=str(self.loras),
                                                 diffusers_enable_embed=True, lora_fuse_native=True, lora_apply_te=False)
        self.shared.cmd_opts = types.SimpleNamespace(lora_dir=str(self.loras))
        self.paths.data_path, self.devices.device = str(folder), torch.device("cpu")
        self.progress.current_task = None
        self.progress.start_task = lambda task: setattr(self.progress, "current_task", task)
        self.call_queue.queue_lock = threading.Lock()  # as the host's: not re-entrant, and no queue
        self.sd_models.reload_model_weights = self.reload
        self.sd_models.disable_offload = self.disable_offload
        self.sd_models.move_model = lambda pipe, device, force: self.asked.append(f"move to {device}, {force}")
        self.sd_models.set_diffuser_offload = lambda pipe, force: self.asked.append(f"offload, {force}")
        self.lora_common.loaded_networks, self.lora_common.previously_loaded_networks = [], []
        self.lora_load.lora_cache, self.lora_load.available_networks = {}, {}
        self.lora_load.list_available_networks = self.list_networks
        self.sd_models_utils.state_dict_cache = types.SimpleNamespace(_cache={})
        self.prompt_parser_diffusers.cache = {"a prompt": "its conditioning"}
        self.loads, self.asked, self.fails = [], [], ""

    @property
    def pipe(self):
        return self.modeldata.model_data.sd_model

    def made(self, info):
        return StableDiffusionPipeline(self.family, info, self.embeddings, self.inputs, self.dtype)

    def reload(self, info, force):
        """A model that cannot be loaded is told of in the log only."""
        assert force
        self.loads.append(info.name)
        self.modeldata.model_data.sd_model = None if info.name == self.fails else self.made(info)
        return self.pipe

    def disable_offload(self, pipe):
        self.asked.append("stay")
        pipe.has_accelerate = False

    def list_networks(self):
        self.lora_load.available_networks.clear()
        for path in self.loras.glob("*.safetensors"):  # the host has no dots in names
            name = path.stem.replace(".", "_")
            self.lora_load.available_networks[name] = types.SimpleNamespace(name=name, filename=str(path))

    def fuse(self, name, amount):
        """What a prompt with a LoRA does: new Parameters, of which more than rounding stays when it is taken out again."""
        layer = self.pipe.unet.time_embedding.linear_1
        with torch.no_grad():
            layer.weight = nn.Parameter(layer.weight + amount, requires_grad=False)
        layer.network_weights_backup, layer.network_current_names = True, ((name, 1.0, 1.0, None),)
        used = [types.SimpleNamespace(name=name)]
        self.lora_common.loaded_networks[:] = self.lora_common.previously_loaded_networks[:] = used
        self.pipe.loaded_loras["include=all:exclude=none"] = [f"{name}:1.0:1.0"]
        return layer


def borrowed(host, work, checkpoint=""):
    def inside():
        with host.borrow(checkpoint) as model:
            return work(model)

    return host.run(inside)
