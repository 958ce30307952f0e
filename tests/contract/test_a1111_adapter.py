"""The adapter for AUTOMATIC1111 against a small fake of its `modules` package; tests/host drives the real one."""

import importlib.machinery
import logging
import re
import sys
import threading
import time
import types
from collections import deque
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from fake_host import tokenizer, write_dataset
from pivotal.errors import HostError
from pivotal.hosts.detect import KINDS, detect
from pivotal.hosts.protocol import Host
from pivotal.jobs.desk import Desk
from pivotal.models.text import token_ids
from pivotal.prompts.chunks import tokenize_prompt
from tiny import tiny_tensors

MODULES = ("call_queue", "devices", "paths", "processing", "script_callbacks", "sd_hijack", "sd_hijack_open_clip",
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


@pytest.fixture
def webui(monkeypatch, tmp_path):
    return Webui(monkeypatch, tmp_path)


def borrowed(host, work, checkpoint=""):
    def inside():
        with host.borrow(checkpoint) as model:
            return work(model)

    return host.run(inside)


def test_it_is_detected_and_is_a_host(webui):
    host, _ = detect()
    assert isinstance(host, Host)
    found = host.checkpoint()
    assert (host.name, found.name, found.family, found.blocks) == ("a1111", "loaded", "sd1", 4)
    assert host.reads_bundles
    assert list(host.checkpoints()) == ["loaded", "v1.5 other"]


def test_without_a_webui_it_says_what_it_looked_for(monkeypatch):
    monkeypatch.delitem(sys.modules, "modules", raising=False)
    with pytest.raises(HostError, match="no Stable Diffusion WebUI was found in this process: it has no modules"):
        detect()


RELATIVES = {"Forge": ["modules_forge", "backend", "backend.diffusion_engine"], "reForge": ["modules_forge", "ldm_patched"],
             "SD.Next": ["modules.processing_diffusers"]}


@pytest.mark.parametrize("name", RELATIVES)
def test_each_relative_gets_its_own_adapter_or_a_sentence(webui, monkeypatch, name):
    for module in RELATIVES[name]:
        fake_module(monkeypatch, module)
    (kind,) = [kind for kind in KINDS if kind.told == name]
    host, shell = types.SimpleNamespace, types.SimpleNamespace
    setattr(fake_module(monkeypatch, kind.module), f"{kind.prefix}Host", lambda: host)
    setattr(fake_module(monkeypatch, f"{kind.module}_shell"), f"{kind.prefix}Shell", lambda: shell)
    assert detect() == (host, shell)
    monkeypatch.setattr("pivotal.hosts.detect.KINDS", [replace(kind, module="pivotal.hosts.nowhere")])
    with pytest.raises(HostError, match=f"^{name} is not supported yet; use AUTOMATIC1111"):
        detect()


def test_an_unknown_relative_is_told_what_it_lacks(webui, monkeypatch):
    monkeypatch.delitem(sys.modules, "modules.sd_hijack")
    with pytest.raises(HostError, match=r"none of those that Pivotal knows \(SD\.Next, .*it lacks .*modules\.sd_hijack"):
        detect()


@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl"])
def test_every_tensor_is_the_hosts_own(monkeypatch, tmp_path, family):
    webui = Webui(monkeypatch, tmp_path, family)
    storages = {tensor.untyped_storage().data_ptr() for tensor in webui.model.state_dict().values()}

    def compare(model):
        parts = [model.unet, model.vae, *(encoder.module for encoder in model.text_encoders)]
        mine = [tensor for part in parts for tensor in part.parameters()]
        assert len(mine) >= 100
        assert all(tensor.untyped_storage().data_ptr() in storages for tensor in mine)
        assert not any(tensor.requires_grad for tensor in mine)
        assert (model.family.name, model.prediction, model.resolution) == (family, "v" if family == "sd2" else "epsilon", 64)
        torch.testing.assert_close(model.alphas_cumprod, webui.model.alphas_cumprod_original)
        assert model.tokenizer("a cat", add_special_tokens=False)["input_ids"] == [320, 2368]

    borrowed(detect()[0], compare)


def test_the_model_is_as_before_even_after_an_exception(webui):
    before = {name: (tensor.clone(), tensor.requires_grad) for name, tensor in webui.model.named_parameters()}

    def train_and_fail(model):
        model.unet.train().requires_grad_(True)
        output = model.unet(torch.randn(1, 4, 8, 8), torch.tensor([5]), encoder_hidden_states=torch.zeros(1, 77, 32))
        output.sample.sum().backward()
        model.unet.to(torch.float64)
        raise RuntimeError("on purpose")

    with pytest.raises(RuntimeError, match="on purpose"):
        borrowed(detect()[0], train_and_fail)
    after = dict(webui.model.named_parameters())
    assert after.keys() == before.keys()
    for name, (tensor, requires_grad) in before.items():
        assert torch.equal(after[name], tensor), name
        assert (after[name].requires_grad, after[name].grad) == (requires_grad, None), name
    assert not webui.model.training
    assert not webui.call_queue.queue_lock.locked()


def test_a_write_into_the_hosts_weights_is_told(webui, caplog):
    def write(model):
        next(model.unet.parameters()).add_(1)

    with caplog.at_level(logging.ERROR):
        borrowed(detect()[0], write)
    assert "The weights of loaded.safetensors were written to (model.diffusion_model." in caplog.text


def rewrite(model):
    """What a checkpoint with the same yaml does: other values in the same storage."""
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(1)


def to_meta(model):
    model.to("meta")


def to_8_bits(model):
    model.model.to(torch.float8_e4m3fn)


def switch(webui):
    rewrite(webui.model)
    webui.model.sd_checkpoint_info = webui.infos["v1.5 other"]


def switch_to_another_yaml(webui):
    webui.sd_models.model_data.sd_model = live_model("sd1", webui.infos["v1.5 other"])
    to_meta(webui.model)


def switch_vae(webui):
    webui.model.loaded_vae_file = "/models/VAE/ft-mse.safetensors"


HARMS = [
    (switch, r"The WebUI has loaded v1\.5 other\.safetensors instead of loaded\.safetensors; load loaded.* again to resume"),
    (switch_to_another_yaml, r"has loaded v1\.5 other\.safetensors instead of loaded"),
    (switch_vae, r"has loaded the VAE ft-mse\.safetensors instead of the checkpoint's own VAE; choose that again"),
    (lambda webui: setattr(webui.sd_models.model_data, "sd_model", None), "has unloaded loaded.safetensors; load it"),
    (lambda webui: rewrite(webui.model), r"weights of loaded\.safetensors were written to \(model\.diffusion_model"),
    (lambda webui: to_8_bits(webui.model), r"moved or converted the weights of loaded\.safetensors \(model\.diff.*FP8"),
    (lambda webui: webui.model.model.to("meta"), r"moved or converted the weights"),
]


@pytest.mark.parametrize(("harm", "said"), HARMS)
def test_what_the_host_does_to_a_lent_model_is_told(webui, harm, said):
    host, _ = detect()

    def work(_):
        before = host.changed()
        harm(webui)
        return before, host.changed()

    before, after = borrowed(host, work)
    assert before is None
    assert re.search(said, after)
    assert host.changed() is None  # nothing is lent any more


def test_an_unharmed_model_is_found_so_in_little_time(webui):
    host, _ = detect()

    def work(model):
        model.unet(torch.randn(1, 4, 8, 8), torch.tensor([5]), encoder_hidden_states=torch.zeros(1, 77, 32))
        # Each generation writes the schedule anew, which no run learns by.
        webui.model.register_buffer("alphas_cumprod", torch.zeros(1000))
        started = time.perf_counter()
        for _ in range(100):
            assert host.changed() is None
        return (time.perf_counter() - started) / 100

    count = len(list(webui.model.parameters()))
    assert borrowed(host, work) < 10e-6 * count  # 11 ms for the 1130 parameters of SD 1; seen: .5 ms


def test_all_who_wait_are_let_through_once_and_in_their_order(webui):
    host, _ = detect()
    seen, late = [], []

    def generate(number):
        state = webui.shared.state
        seen.append((number, state.job, "interrupt" in vars(state)))
        state.begin(job="txt2img")
        state.interrupt()  # is for this generation
        late.append(webui.wait(lambda: seen.append("late")))  # comes while these are drawn: not before our next step
        state.end()

    def work(_):
        host.let_through()  # nobody waits
        seen.append("first")
        webui.wait(lambda: generate(1))
        webui.wait(lambda: generate(2))
        host.let_through()
        state = webui.shared.state
        seen.append((state.job, webui.call_queue.queue_lock.locked(), host.stop_requested(), host.changed()))
        state.interrupt()
        host.let_through()  # about to stop: they have not long to wait
        return host.stop_requested()

    assert borrowed(host, work)
    assert seen[:4] == ["first", (1, "", False), (2, "", False), ("Pivotal training", True, False, None)]
    for asked in late:
        asked.join(20)
    assert seen[4:] == ["late", "late"]


def test_a_lora_of_a_prompt_that_was_let_through_is_taken_out(webui, monkeypatch):
    networks = fake_module(monkeypatch, "networks")
    block = webui.model.model.diffusion_model.time_embed._modules["0"]
    original = block.weight.detach().clone()
    networks.network_restore_weights_from_backup = lambda module: module.weight.copy_(original)

    def generate():
        with torch.no_grad():
            block.weight.add_(1)
        block.network_current_names = (("lora", 1.0, 1.0, None),)

    host, _ = detect()

    def work(model):
        for _ in range(2):
            webui.wait(generate)
            host.let_through()
            assert host.changed() is None
            assert torch.equal(model.unet.time_embedding.linear_1.weight, original)

    borrowed(host, work)


@pytest.mark.parametrize(("harm", "said"), HARMS)
def test_what_those_let_through_did_to_the_model_is_told(webui, harm, said):
    host, _ = detect()

    def work(_):
        webui.wait(lambda: harm(webui))
        host.let_through()
        return host.changed()

    assert re.search(said, borrowed(host, work))


def test_nobody_is_let_through_who_would_load_another_checkpoint(webui):
    host, _ = detect()
    seen = []

    def work(_):
        webui.shared.opts.sd_model_checkpoint = "v1.5 other.safetensors"
        asked = webui.wait(lambda: seen.append("other"))
        host.let_through()
        return list(seen), asked

    before, asked = borrowed(host, work)
    asked.join(20)
    assert (before, seen) == ([], ["other"])


def test_run_holds_the_lock_and_names_the_job(webui):
    host, _ = detect()
    seen = host.run(lambda: (webui.call_queue.queue_lock.locked(), webui.shared.state.job))
    assert seen == (True, "Pivotal training")
    assert not webui.call_queue.queue_lock.locked()
    assert webui.shared.state.job == ""


@pytest.mark.parametrize("inside", [True, False])
def test_refresh_takes_up_a_replaced_file_and_forgets_old_prompts(webui, inside):
    host, _ = detect()
    path = host.folders().embeddings / "zkteal.safetensors"

    def refresh():
        host.refresh(path)

    for value in (1.0, 2.0):
        save_file({"emb_params": torch.full((2, 32), value)}, str(path))
        worker = threading.Thread(target=host.run if inside else refresh, args=[refresh] if inside else [], daemon=True)
        worker.start()
        worker.join(20)
        assert not worker.is_alive(), "refresh waits for a lock that its own thread holds"
        assert webui.database.word_embeddings["zkteal"].vec[0, 0] == value
    assert webui.caches == [[None, None]] * 4


def test_an_embedding_that_does_not_fit_is_told(webui):
    host, _ = detect()
    path = host.folders().embeddings / "wide.safetensors"
    save_file({"emb_params": torch.zeros(1, 999)}, str(path))
    with pytest.raises(HostError, match=r"wide\.safetensors does not fit the checkpoint that is loaded"):
        host.refresh(path)


def test_interrupt_stops_the_run_also_after_the_host_has_forgotten_it(webui):
    host, _ = detect()
    webui.shared.state.interrupt()  # meant for somebody before us

    def work():
        seen = [host.stop_requested()]
        webui.shared.state.request_restart()  # "Reload UI" interrupts, too
        seen.append(host.stop_requested())
        webui.shared.state.interrupt()
        webui.shared.state.interrupted = False  # as any handler of the page does at its end
        return [*seen, host.stop_requested()]

    assert host.run(work) == [False, False, True]
    assert "interrupt" not in vars(webui.shared.state)
    assert not webui.shared.state.interrupted
    assert host.run(host.stop_requested) is False


def test_a_lora_left_in_the_weights_is_taken_out(webui, monkeypatch):
    networks = fake_module(monkeypatch, "networks")
    block = webui.model.model.diffusion_model.time_embed._modules["0"]
    original = block.weight.detach().clone()

    def restore(module):
        module.weight.copy_(original)

    networks.network_restore_weights_from_backup = restore
    with torch.no_grad():
        block.weight.add_(1)
    block.network_current_names = (("lora", 1.0, 1.0, None),)
    lent = borrowed(detect()[0], lambda model: model.unet.time_embedding.linear_1.weight.clone())
    assert torch.equal(lent, original)
    assert block.network_current_names == ()


@pytest.mark.parametrize(("harm", "said"), [
    (lambda webui: setattr(webui.shared, "sd_model", None), "has no checkpoint loaded"),
    (lambda webui: setattr(webui.model, "lowvram", True), "Start it without that flag"),
    (lambda webui: setattr(webui.devices, "fp8", True), "Disable Settings > Optimizations > FP8 weight"),
    (lambda webui: setattr(webui.devices, "device", "cuda"), "was unloaded to the cpu"),
    (lambda webui: setattr(webui.model, "parameterization", "x0"), "predicts 'x0'"),
    (lambda webui: delattr(webui.model, "cond_stage_model"), "loaded.safetensors cannot be trained on: .* text encoder"),
    (lambda webui: webui.model.model.diffusion_model.add_module("joint_blocks", nn.LayerNorm(2)), "Stable Diffusion 3"),
])
def test_what_cannot_be_lent_is_refused_in_words(webui, harm, said):
    host, _ = detect()
    harm(webui)
    with pytest.raises(HostError, match=said):
        borrowed(host, lambda _: None)
    assert not webui.call_queue.queue_lock.locked()


def test_another_checkpoint_is_loaded_by_the_host_and_the_first_one_comes_back(webui):
    host, _ = detect()
    assert borrowed(host, lambda _: host.checkpoint().name, "v1.5 other") == "v1.5 other"
    assert webui.loads == [("v1.5 other.safetensors", False), ("loaded.safetensors", False)]
    assert borrowed(host, lambda _: host.checkpoint().name, "loaded") == "loaded"
    assert len(webui.loads) == 2
    with pytest.raises(HostError, match="'nowhere' is not among"):
        borrowed(host, lambda _: None, "nowhere")


@pytest.mark.parametrize("what", ["joint_blocks", "double_blocks"])
def test_a_file_of_another_family_is_refused_before_it_is_loaded(webui, what):
    save_file({f"model.diffusion_model.{what}.0.weight": torch.zeros(1)}, webui.infos["v1.5 other"].filename)
    with pytest.raises(HostError, match=r"v1\.5 other\.safetensors cannot be trained on: it is a (Stable Diffusion 3|Flux)"):
        borrowed(detect()[0], lambda _: None, "v1.5 other")
    assert webui.loads == []


def test_a_model_of_another_family_is_refused_before_it_is_touched(webui, monkeypatch):
    networks = fake_module(monkeypatch, "networks")
    networks.network_restore_weights_from_backup = lambda module: pytest.fail("touched")
    unet = webui.model.model.diffusion_model
    unet.time_embed._modules["0"].network_current_names = (("lora", 1.0, 1.0, None),)
    unet.add_module("joint_blocks", nn.LayerNorm(2))
    with pytest.raises(HostError, match="Stable Diffusion 3"):
        borrowed(detect()[0], lambda _: None)


@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl"])
def test_an_inpainting_model_is_lent_as_one(monkeypatch, tmp_path, family):
    webui = Webui(monkeypatch, tmp_path, family, inputs=9)
    weight = webui.model.model.diffusion_model.input_blocks._modules["0"]._modules["0"].weight

    def compare(model):
        assert model.is_inpainting
        assert model.unet.conv_in.weight.data_ptr() == weight.data_ptr()

    borrowed(detect()[0], compare)


def test_schedule_and_clip_skip_are_those_of_the_settings(webui):
    host, _ = detect()
    assert borrowed(host, lambda model: (model.clip_skip, model.alphas_cumprod[-1].item())) == (1, pytest.approx(0.0047))
    webui.shared.opts.sd_noise_schedule, webui.shared.opts.CLIP_stop_at_last_layers = "Zero Terminal SNR", 2
    webui.model.alphas_cumprod = torch.zeros(1000)  # what the host's last generation left there
    skip, alphas = borrowed(host, lambda model: (model.clip_skip, model.alphas_cumprod))
    assert (skip, alphas[-1].item()) == (2, pytest.approx(4.8973451890853435e-08))
    assert alphas[0].item() == pytest.approx(0.999)


@pytest.mark.parametrize(("also_sdxl", "skip", "layer"), [(False, 2, -2), (True, 1, -1), (True, 2, -2), (True, 3, -3)])
def test_sdxl_skips_layers_as_its_own_setting_says(monkeypatch, tmp_path, also_sdxl, skip, layer):
    """sd_hijack_clip.py: with that setting, hidden_states[-clip skip] of the first encoder; else the one before the last."""
    webui = Webui(monkeypatch, tmp_path, "sdxl")
    webui.shared.opts.CLIP_stop_at_last_layers, webui.shared.opts.sdxl_clip_l_skip = skip, also_sdxl

    def compare(model):
        prompt = tokenize_prompt("a red circle", tokenizer(), {})
        ids = token_ids(prompt.chunks, 49407)
        states = model.text_encoders[0].module(ids, output_hidden_states=True).hidden_states
        assert torch.equal(model.encode_prompts([prompt]).hidden[..., :32], states[layer])

    borrowed(detect()[0], compare)


def test_a_checkpoint_that_cannot_be_loaded_leaves_the_first_one_whole(webui):
    webui.fails = True
    with pytest.raises(HostError, match="could not load v1.5 other.safetensors: RuntimeError: HeaderTooLarge"):
        borrowed(detect()[0], lambda _: None, "v1.5 other")
    assert webui.loads[-1] == ("loaded.safetensors", True)  # forced: the host had taken its hijack off


@pytest.mark.parametrize("is_loaded", [True, False])
def test_the_prompt_context_waits_for_nobody(webui, is_loaded):
    host, _ = detect()
    webui.database.word_embeddings["zkteal"] = types.SimpleNamespace(vectors=3)
    if not is_loaded:
        webui.sd_models.model_data.sd_model = None
        assert host.checkpoint() is None
    with webui.call_queue.queue_lock:
        context = host.prompt_context()
    assert context.encoders["clip_l"]("a cat", add_special_tokens=False)["input_ids"] == [320, 2368]
    assert context.embeddings == {"zkteal": 3}


def test_a_whole_run_writes_an_embedding_that_the_host_knows(webui, tmp_path):
    host, _ = detect()
    desk = Desk(host)
    desk.start({"name": "zkteal", "dataset.folder": str(write_dataset(tmp_path / "images")), "dataset.resolution": 64,
                "embeddings.0.placeholder": "zkteal", "embeddings.0.token_count": 2, "length.steps": 2,
                "samples.every_steps": 0, "save.every_steps": 1})
    view = desk.wait(120)
    assert (view.state, view.message) == ("finished", "")
    assert webui.database.word_embeddings["zkteal"].vectors == 2
    assert host.folders().embeddings == Path(webui.shared.cmd_opts.embeddings_dir)


def test_the_shell_gives_the_tab_and_the_routes_at_every_reload(webui):
    tabs, starts, drawn, attached = [], [], [], []
    webui.script_callbacks.on_ui_tabs, webui.script_callbacks.on_app_started = tabs.append, starts.append
    webui.ui.gr = types.SimpleNamespace(Blocks=lambda **_: threading.Lock())
    for _ in range(2):
        _, shell = detect()
        shell.add_tab(shell.title, "pivotal_train", lambda: drawn.append("tab"))
        shell.add_routes(attached.append)
    assert [tab[1:] for draw in tabs for tab in draw()] == [("Pivotal", "pivotal_train")] * 2
    for started in starts:
        started(object(), "app")
    assert (drawn, attached) == (["tab", "tab"], ["app", "app"])
