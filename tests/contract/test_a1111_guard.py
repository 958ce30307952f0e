"""What the host does to a lent model is told, and others are let through between steps: AUTOMATIC1111's stand-in."""

import re
import time

import pytest
import torch

from hosts.a1111_standin import Webui, borrowed, fake_module, live_model
from pivotal.hosts.detect import detect


@pytest.fixture
def webui(monkeypatch, tmp_path):
    return Webui(monkeypatch, tmp_path)


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
        started = time.thread_time()
        for _ in range(100):
            assert host.changed() is None
        return (time.thread_time() - started) / 100

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
        asked.join(300)
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
    asked.join(300)
    assert (before, seen) == ([], ["other"])
