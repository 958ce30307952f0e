"""The adapter for SD.Next against its stand-in; tests/host drives the real one."""

import re
import sys
import threading
import time

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from hosts.sdnext_standin import FluxPipeline, SdNext, borrowed
from pivotal.errors import HostError
from pivotal.hosts.detect import detect
from pivotal.hosts.protocol import Host
from pivotal.models.schedule import ddpm_schedule
from pivotal.training.denoise import Denoiser
from tiny import tiny_model, tokenized

pytestmark = pytest.mark.once  # its packages are the newest


@pytest.fixture
def webui(monkeypatch, tmp_path):
    return SdNext(monkeypatch, tmp_path)


def parts(pipe):
    return [part for part in pipe.components.values() if isinstance(part, nn.Module)]


def test_it_is_detected_and_is_a_host(webui):
    host, shell = detect()
    assert isinstance(host, Host)
    found = host.checkpoint()
    assert (host.name, found.name, found.family, found.blocks) == ("sdnext", "Diffusers/loaded", "sd1", 4)
    assert host.reads_bundles
    assert list(host.checkpoints()) == ["Diffusers/loaded", "v1.5 other"]  # not the one that would be downloaded
    assert shell.title == "Pivotal"


def test_it_says_that_biases_are_not_read_while_the_host_fuses_networks(webui):
    host = detect()[0]
    assert "LoRA native fuse with model" in host.network_reader.unread["full"]
    assert host.network_reader.bundles_stay
    webui.shared.opts.lora_fuse_native = False
    assert set(host.network_reader.unread) == {"boft"}


@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl"])
def test_every_tensor_is_the_hosts_own_and_no_module_is(monkeypatch, tmp_path, family):
    webui = SdNext(monkeypatch, tmp_path, family)
    storages = {tensor.data_ptr() for part in parts(webui.pipe) for tensor in part.parameters()}
    # Of those with values: some diffusers versions have one activation for all models.
    modules = {id(module) for part in parts(webui.pipe) for module in part.modules() if module._parameters}

    def compare(model):
        own = [model.unet, model.vae, *(encoder.module for encoder in model.text_encoders)]
        mine = [tensor for part in own for tensor in part.parameters()]
        assert len(mine) >= 100
        assert all(tensor.data_ptr() in storages for tensor in mine)
        assert not any(tensor.requires_grad for tensor in mine)
        assert not any(id(module) in modules for part in own for module in part.modules())
        assert (model.family.name, model.prediction, model.resolution) == (family, "v" if family == "sd2" else "epsilon", 64)
        torch.testing.assert_close(model.alphas_cumprod, ddpm_schedule(), rtol=0, atol=1e-6)

    borrowed(detect()[0], compare)


@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl"])
def test_the_lent_model_computes_what_the_checkpoint_does(monkeypatch, tmp_path, family):
    """Also SD 2, whose pipeline has a text encoder without the layer that is not used."""
    webui = SdNext(monkeypatch, tmp_path, family)
    if family == "sd2":
        text = webui.pipe.text_encoder
        del getattr(text, "text_model", text).encoder.layers[-1]
        text.config.num_hidden_layers -= 1

    def computed(model):
        torch.manual_seed(7)
        told = model.encode_prompts([tokenized("a red circle")])
        sizes = torch.tensor([[64, 64, 0, 0, 64, 64]]) if family == "sdxl" else None
        mean, _ = model.encode_images(torch.rand(1, 3, 64, 64))
        return told.hidden, mean, model.predict(torch.randn(1, 4, 8, 8), torch.tensor([500]), told, sizes)

    with torch.no_grad():
        for mine, expected in zip(borrowed(detect()[0], computed), computed(tiny_model(family)), strict=True):
            assert torch.equal(mine, expected)


def test_the_model_is_as_before_even_after_an_exception(webui):
    layer = webui.pipe.unet.time_embedding.linear_1
    layer.weight.requires_grad_(False)  # as after a LoRA
    before = {name: (weight, weight.clone(), weight.requires_grad) for name, weight in webui.pipe.unet.named_parameters()}

    def train_and_fail(model):
        model.unet.train().requires_grad_(True).enable_gradient_checkpointing()
        output = model.unet(torch.randn(1, 4, 8, 8), torch.tensor([5]), encoder_hidden_states=torch.zeros(1, 77, 32))
        output.sample.sum().backward()
        model.unet.to(torch.float64)
        raise RuntimeError("on purpose")

    with pytest.raises(RuntimeError, match="on purpose"):
        borrowed(detect()[0], train_and_fail)
    for name, weight in webui.pipe.unet.named_parameters():
        was, values, requires_grad = before[name]
        assert weight is was
        assert torch.equal(weight, values), name
        assert (weight.requires_grad, weight.grad) == (requires_grad, None), name
    assert not webui.pipe.unet.training
    assert not webui.pipe.unet.is_gradient_checkpointing
    assert not webui.call_queue.queue_lock.locked()


def test_a_run_that_goes_on_in_fp32_leaves_the_hosts_half_precision_and_is_no_change(monkeypatch, tmp_path):
    """guard.bad_step=precise: the weights that turn to fp32 are those of our modules, and copies."""
    webui = SdNext(monkeypatch, tmp_path, dtype=torch.float16)
    host, _ = detect()
    before = {name: (weight, weight.data_ptr()) for name, weight in webui.pipe.unet.named_parameters()}

    def work(model):
        Denoiser(model, (), torch.float16).compute_in_fp32()
        told = model.encode_prompts([tokenized("a red circle")])
        with torch.no_grad():
            answer = model.predict(torch.randn(1, 4, 8, 8), torch.tensor([500]), told)
        assert (model.dtype, told.hidden.dtype, answer.dtype) == (torch.float32,) * 3
        return host.changed()

    assert borrowed(host, work) is None
    for name, weight in webui.pipe.unet.named_parameters():
        was, pointer = before[name]
        assert (weight is was, weight.data_ptr(), weight.dtype) == (True, pointer, torch.float16), name


def test_a_compiled_model_is_lent_as_it_was_before(webui):
    unet = webui.pipe.unet
    webui.pipe.unet = nn.Module()  # as torch.compile makes one
    webui.pipe.unet._orig_mod = unet
    assert borrowed(detect()[0], lambda model: model.unet.conv_in.weight.data_ptr()) == unet.conv_in.weight.data_ptr()


def rewrite(webui):
    with torch.no_grad():
        webui.pipe.unet.conv_in.weight.add_(1)


def other_vae(webui):
    webui.pipe.vae = webui.made(webui.pipe.sd_checkpoint_info).vae


def unload(webui):
    """Takes no lock (api/endpoints.py)."""
    for part in parts(webui.pipe):
        part.to("meta")
    webui.modeldata.model_data.sd_model = None


HARMS = [
    (rewrite, r"The weights of Diffusers/loaded were written to \(unet\.conv_in\.weight\); load it again to resume"),
    (other_vae, "SD.Next has loaded another vae than Diffusers/loaded had"),
    (unload, "SD.Next has unloaded Diffusers/loaded; load it again to resume"),
    (lambda webui: webui.pipe.unet.to("meta"), "SD.Next has unloaded Diffusers/loaded"),  # it has just begun to
    (lambda webui: webui.pipe.unet.to(torch.float16), r"SD.Next has moved or converted the weights .*unet\."),
    (lambda webui: webui.reload(webui.infos["v1.5 other"], True), "has loaded v1.5 other instead of Diffusers/loaded"),
]


@pytest.mark.parametrize(("harm", "said"), HARMS)
def test_what_was_done_to_the_lent_model_is_told(webui, harm, said, caplog):
    host, _ = detect()

    def work(_):
        assert host.changed() is None
        harm(webui)
        return host.changed()

    assert re.search(said, borrowed(host, work))
    assert "When the run ended" in caplog.text
    assert host.changed() is None


def test_another_task_or_embedding_is_no_change(webui):
    """img2img makes another pipeline of the same modules; an embedding makes the token table longer."""
    host, _ = detect()

    def work(model):
        webui.modeldata.model_data.sd_model = webui.pipe.other_task()
        save_file({"emb_params": torch.ones(2, 32)}, str(host.folders().embeddings / "zkteal.safetensors"))
        host.refresh(host.folders().embeddings / "zkteal.safetensors")
        assert len(webui.pipe.text_encoder.get_input_embeddings().weight) == 49410
        return host.changed()

    assert borrowed(host, work) is None
    assert borrowed(host, lambda model: len(model.text_encoders[0].table.weight)) == 49410


def test_run_holds_the_lock_and_names_the_job(webui):
    host, _ = detect()
    assert host.run(lambda: (webui.call_queue.queue_lock.locked(), webui.shared.state.job)) == (True, "Pivotal training")
    assert not webui.call_queue.queue_lock.locked()
    assert webui.shared.state.job == ""


def test_interrupt_stops_the_run_also_after_the_host_has_forgotten_it(webui):
    host, _ = detect()
    webui.shared.state.interrupt()  # meant for somebody before us

    def work():
        seen = [host.stop_requested()]
        webui.shared.state.interrupt()
        webui.shared.state.begin("txt2img")  # as one that begins to wait does, before it has the lock (call_queue.py)
        webui.shared.state.begun -= 1
        return [*seen, host.stop_requested()]

    assert host.run(work) == [False, True]
    assert "interrupt" not in vars(webui.shared.state)
    assert host.run(host.stop_requested) is False


def test_the_hosts_own_progress_follows_a_run_and_is_given_back(webui):
    host, _ = detect()
    state, progress, seen = webui.shared.state, webui.progress, []

    def work():
        for step in (1, 3):
            host.show_progress(step, 4, seconds=step * 10.0)
            share = state.sampling_step / state.sampling_steps  # api_progress, with one job
            spent = time.time() - state.time_start
            seen.append((progress.current_task, state.job, share, round(spent / share - spent, 1), state.textinfo))
            state.begin("txt2img")  # a prompt begins to wait: it names the job before it has the lock
            state.begun -= 1

    host.run(work)
    assert seen == [("task(pivotal)", "Pivotal training", 0.25, 30.0, "Pivotal: step 1 of 4"),
                    ("task(pivotal)", "Pivotal training", 0.75, 10.0, "Pivotal: step 3 of 4")]
    assert (progress.current_task, state.job, state.sampling_steps, state.sampling_step) == (None, "", 0, 0)
    host.show_progress(2, 4, 2.0)  # without the lock it is somebody else's
    assert (progress.current_task, state.job, state.sampling_step) == (None, "", 0)


def waiting(webui, work):
    """A thread that does `work` as soon as it has the lock."""
    begun = threading.Event()

    def generate():
        begun.set()
        with webui.call_queue.queue_lock:
            time.sleep(0.05)  # longer than the handover
            work()

    thread = threading.Thread(target=generate, daemon=True)
    thread.start()
    begun.wait()
    time.sleep(0.02)
    return thread


def test_those_who_wait_are_let_through_between_steps(webui):
    host, _ = detect()
    seen = []

    def prompt():
        state = webui.shared.state
        seen.append(("interrupt" in vars(state), host.stop_requested()))
        state.interrupt()  # is for this generation

    def work(_):
        host.let_through()  # nobody waits
        threads = [waiting(webui, prompt) for _ in range(2)]
        until = time.monotonic() + 300
        while any(thread.is_alive() for thread in threads) and time.monotonic() < until:
            host.let_through()  # on a busy machine a thread may need longer than one handover to wake
        return webui.call_queue.queue_lock.locked(), webui.shared.state.job, host.stop_requested(), host.changed()

    assert borrowed(host, work) == (True, "Pivotal training", False, None)
    assert seen == [(False, False)] * 2
    assert not webui.call_queue.queue_lock.locked()


def test_a_lora_of_a_prompt_that_was_let_through_leaves_nothing(webui):
    host, _ = detect()
    layer = webui.pipe.unet.time_embedding.linear_1
    weight, values = layer.weight, layer.weight.detach().clone()

    def work(model):
        waiting(webui, lambda: webui.fuse("teal", 0.5))
        host.let_through()
        assert layer.weight is weight
        assert torch.equal(layer.weight, values)
        assert not hasattr(layer, "network_weights_backup")
        assert webui.pipe.loaded_loras == {}
        assert webui.lora_common.previously_loaded_networks == []
        return host.changed(), torch.equal(model.unet.time_embedding.linear_1.weight, values)

    assert borrowed(host, work) == (None, True)


def test_nobody_is_let_through_who_would_meet_another_checkpoint_or_move_this_one(webui):
    host, _ = detect()
    seen, threads = [], []

    def work(_):
        threads.append(waiting(webui, lambda: seen.append("drawn")))
        host.let_through()
        return list(seen)

    assert borrowed(host, work, "v1.5 other") == []
    threads[-1].join(300)  # drawn now that the run is over, and not in the middle of the next
    assert seen == ["drawn"]
    webui.pipe.has_accelerate = True  # or who would send its weights away
    seen.clear()
    assert borrowed(host, work) == []
    threads[-1].join(300)


def test_a_model_with_a_lora_in_its_weights_is_loaded_anew(webui):
    """Taken out by the host, a LoRA leaves its rounding, and half of itself after two strengths (lora_apply.py)."""
    host, _ = detect()
    original = webui.pipe.unet.time_embedding.linear_1.weight.detach().clone()
    webui.fuse("teal", 0.5)
    assert torch.equal(borrowed(host, lambda model: model.unet.time_embedding.linear_1.weight.clone()), original)
    assert webui.loads == ["Diffusers/loaded"]
    borrowed(host, lambda _: None)
    assert len(webui.loads) == 1  # once


def flux(webui):
    webui.modeldata.model_data.sd_model = FluxPipeline(webui.infos["Diffusers/loaded"])


def quantize(webui):
    """SDNQ, bitsandbytes and quanto keep integers, or floats of one byte."""
    webui.pipe.unet.conv_in.weight = nn.Parameter(torch.zeros(32, 4, dtype=torch.int8), requires_grad=False)


def another_vae_class(webui):
    webui.pipe.vae = nn.Linear(2, 2)


@pytest.mark.parametrize(("harm", "said"), [
    (lambda webui: setattr(webui.shared, "sd_model", None), "SD.Next has no model loaded"),
    (flux, "it is a FluxPipeline; expected Stable Diffusion 1.x, 2.x or XL"),
    (quantize, r"are quantized \(unet\.conv_in\.weight is torch\.int8\)"),
    (lambda webui: webui.pipe.unet.to(torch.float8_e4m3fn), "are quantized.*float8"),
    (lambda webui: webui.pipe.text_encoder.to("meta"), r"are unloaded \(text_encoder\)"),
    (lambda webui: webui.pipe.default_scheduler.register_to_config(prediction_type="flow_prediction"),
     "predicts 'flow_prediction'"),
    (lambda webui: setattr(webui.devices, "device", torch.device("cuda")), r"are kept elsewhere.*\(unet\).*Model Offloading"),
    (another_vae_class, "with the VAE Linear"),
    (lambda webui: webui.pipe.unet.register_to_config(in_channels=8), "its UNet takes 8 channels"),
    (lambda webui: webui.pipe.unet.conv_in.add_module("lora_A", nn.Linear(1, 1)), None),
])
def test_what_cannot_be_lent_is_refused_in_words(webui, harm, said):
    host, _ = detect()
    harm(webui)
    if said is None:  # wrapped layers: the checkpoint is loaded anew
        assert borrowed(host, lambda _: webui.loads) == ["Diffusers/loaded"]
        return
    with pytest.raises(HostError, match=said):
        borrowed(host, lambda _: None)
    assert not webui.call_queue.queue_lock.locked()


@pytest.mark.parametrize("fails", [False, True])
def test_offloaded_weights_stay_in_place_while_they_are_lent(webui, fails):
    webui.pipe.has_accelerate = True

    def work(_):
        webui.asked.append("trained")
        if fails:
            raise RuntimeError("on purpose")

    try:
        borrowed(detect()[0], work)
    except RuntimeError:
        assert fails
    assert webui.asked == ["stay", "move to cpu, True", "trained", "offload, True"]


def test_weights_that_find_no_room_on_the_card_are_offloaded_again(webui):
    webui.pipe.has_accelerate = True

    def full(*_, **__):
        raise RuntimeError("CUDA out of memory")

    webui.sd_models.move_model = full
    with pytest.raises(RuntimeError, match="out of memory"):
        borrowed(detect()[0], lambda _: None)
    assert webui.asked == ["stay", "offload, True"]


def test_another_checkpoint_is_loaded_by_the_host_and_the_first_one_comes_back(webui):
    host, _ = detect()
    assert borrowed(host, lambda _: host.checkpoint().name, "v1.5 other") == "v1.5 other"
    assert webui.loads == ["v1.5 other", "Diffusers/loaded"]
    assert borrowed(host, lambda _: host.checkpoint().name, "Diffusers/loaded") == "Diffusers/loaded"
    assert len(webui.loads) == 2
    with pytest.raises(HostError, match="'nowhere' is not among"):
        borrowed(host, lambda _: None, "nowhere")
    webui.fails = "v1.5 other"
    with pytest.raises(HostError, match=r"SD\.Next could not load v1\.5 other; its log says why"):
        borrowed(host, lambda _: None, "v1.5 other")
    assert host.checkpoint().name == "Diffusers/loaded"


@pytest.mark.parametrize("family", ["sd1", "sdxl"])
def test_an_inpainting_model_is_lent_as_one(monkeypatch, tmp_path, family):
    SdNext(monkeypatch, tmp_path, family, inputs=9)
    assert borrowed(detect()[0], lambda model: model.is_inpainting)


def test_sdxls_own_vae_is_computed_in_full_precision(monkeypatch, tmp_path):
    webui = SdNext(monkeypatch, tmp_path, "sdxl", dtype=torch.float16)
    webui.pipe.vae.register_to_config(force_upcast=True)
    seen = borrowed(detect()[0], lambda model: (model.vae.dtype, model.unet.dtype))
    assert (*seen, webui.pipe.vae.dtype) == (torch.float32, torch.float16, torch.float16)


def test_the_host_is_detected_by_what_only_it_has(webui, monkeypatch):
    monkeypatch.delitem(sys.modules, "modules.processing_diffusers")
    with pytest.raises(HostError, match="none of those that Pivotal knows"):
        detect()
