"""The adapter for AUTOMATIC1111 against its stand-in; tests/host drives the real one."""

import logging
import threading
import time
import types
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from fake_host import tokenizer, write_dataset
from hosts.a1111_standin import Webui, borrowed, fake_module
from pivotal.errors import HostError
from pivotal.hosts.detect import detect
from pivotal.hosts.protocol import Host, Logins
from pivotal.jobs.desk import Desk
from pivotal.models.text import token_ids
from pivotal.prompts.chunks import tokenize_prompt


@pytest.fixture
def webui(monkeypatch, tmp_path):
    return Webui(monkeypatch, tmp_path)


def test_it_is_detected_and_is_a_host(webui):
    host, _ = detect()
    assert isinstance(host, Host)
    found = host.checkpoint()
    assert (host.name, found.name, found.family, found.blocks) == ("a1111", "loaded", "sd1", 4)
    assert host.reads_bundles
    assert list(host.checkpoints()) == ["loaded", "v1.5 other"]


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
        worker.join(300)
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


def test_schedule_clip_skip_and_word_wrap_are_those_of_the_settings(webui):
    host, _ = detect()
    assert borrowed(host, lambda model: (model.clip_skip, model.alphas_cumprod[-1].item())) == (1, pytest.approx(0.0047))
    webui.shared.opts.sd_noise_schedule, webui.shared.opts.CLIP_stop_at_last_layers = "Zero Terminal SNR", 2
    webui.model.alphas_cumprod = torch.zeros(1000)  # what the host's last generation left there
    webui.shared.opts.comma_padding_backtrack = 5
    skip, wrap, alphas = borrowed(host, lambda model: (model.clip_skip, model.comma_backtrack, model.alphas_cumprod))
    assert (skip, wrap, alphas[-1].item()) == (2, 5, pytest.approx(4.8973451890853435e-08))
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


def test_a_checkpoint_that_cannot_be_loaded_again_is_told_as_the_hosts_trouble(webui):
    reload = webui.sd_models.reload_model_weights

    def full(info, **how):
        if info is webui.infos["loaded"]:
            raise RuntimeError("CUDA out of memory")
        return reload(info=info, **how)

    webui.sd_models.reload_model_weights = full
    with pytest.raises(HostError, match="could not load loaded.safetensors: RuntimeError: CUDA out of memory"):
        borrowed(detect()[0], lambda _: None, "v1.5 other")


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


def test_the_hosts_own_progress_bar_follows_a_run_and_is_given_back(webui):
    host, _ = detect()
    state, progress, seen = webui.shared.state, webui.progress, []

    def work():
        for step in (1, 3):
            host.show_progress(step, 4, seconds=step * 10.0)
            share = state.job_no / state.job_count + state.sampling_step / state.sampling_steps / state.job_count  # progress.py
            spent = time.time() - state.time_start
            seen.append((progress.current_task, share, round(spent / share - spent, 1), state.textinfo))
        prompt = webui.wait(lambda: seen.append((progress.current_task, state.sampling_steps, state.textinfo)))
        assert host._turn.step_aside(lambda: None)
        prompt.join()
        host.show_progress(4, 4, 40.0)
        seen.append(progress.current_task)

    host.run(work)
    assert seen == [("task(pivotal)", 0.25, 30.0, "Pivotal: step 1 of 4"), ("task(pivotal)", 0.75, 10.0, "Pivotal: step 3 of 4"),
                    (None, 0, None), "task(pivotal)"], "a prompt that is let through has the bar for itself"
    assert (progress.current_task, state.sampling_steps, state.sampling_step, state.textinfo) == (None, 0, 0, None)
    host.show_progress(2, 4, 2.0)  # without the lock the bar is somebody else's
    assert progress.current_task is None and state.sampling_step == 0


def test_the_flags_say_who_may_use_the_api(webui):
    _, shell = detect()
    webui.shared.cmd_opts.gradio_auth, webui.shared.cmd_opts.api_auth = "a:b", "c:d:e,f:g"
    assert shell.logins() == Logins({"a": "b"}, {"c": "d:e", "f": "g"})


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
