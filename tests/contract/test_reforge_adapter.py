"""The adapter for reForge against its stand-in; tests/host drives the real one."""

import re

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from fake_host import write_dataset
from hosts.a1111_standin import borrowed
from hosts.reforge_standin import V_PREDICTION, ReforgeWebui, reforge_model
from pivotal.errors import HostError
from pivotal.hosts.detect import detect
from pivotal.hosts.protocol import Host
from pivotal.jobs.desk import Desk


@pytest.fixture
def webui(monkeypatch, tmp_path):
    return ReforgeWebui(monkeypatch, tmp_path)


def parts_of(model):
    return [model.unet, model.vae, *(encoder.module for encoder in model.text_encoders)]


def block_of(webui):
    return webui.model.model.diffusion_model.time_embed._modules["0"]


def test_it_is_detected_and_is_a_host(webui):
    host, _ = detect()
    assert isinstance(host, Host)
    found = host.checkpoint()
    assert (host.name, found.name, found.family, found.blocks) == ("reforge", "loaded", "sd1", 4)
    assert list(host.checkpoints()) == ["loaded", "v1.5 other"]


@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl"])
def test_every_tensor_is_the_hosts_own_and_can_be_trained_through(monkeypatch, tmp_path, family):
    webui = ReforgeWebui(monkeypatch, tmp_path, family)
    held = webui.model.forge_objects_original
    storages = {tensor.untyped_storage().data_ptr() for module in (webui.model, held.clip.cond_stage_model)
                for tensor in module.state_dict().values()}
    assert all(weight.is_inference() for weight in held.unet.model.diffusion_model.parameters())

    def compare(model):
        mine = [tensor for part in parts_of(model) for tensor in part.parameters()]
        assert len(mine) >= 100
        assert all(tensor.untyped_storage().data_ptr() in storages for tensor in mine)
        assert not any(tensor.is_inference() for tensor in mine)
        assert model.family.name == family
        torch.testing.assert_close(model.alphas_cumprod, torch.linspace(0.999, 0.0047, 1000))
        context = torch.randn(1, 77, sum(model.widths), requires_grad=True)
        added = {"text_embeds": torch.zeros(1, 48), "time_ids": torch.zeros(1, 6)} if family == "sdxl" else None
        model.unet(torch.randn(1, 4, 8, 8), torch.tensor([5]), encoder_hidden_states=context,
                   added_cond_kwargs=added).sample.sum().backward()
        assert context.grad.abs().sum() > 0

    borrowed(detect()[0], compare)


def test_a_merged_lora_is_taken_out_by_the_hosts_own_means(webui):
    block = block_of(webui)
    original = block.weight.detach().clone()
    webui.model.forge_objects_original.unet.merge(block, "weight")
    lent = borrowed(detect()[0], lambda model: model.unet.time_embedding.linear_1.weight.clone())
    assert torch.equal(lent, original)


def test_the_model_is_as_before_even_after_an_exception(webui):
    before = {name: (tensor.clone(), tensor.requires_grad) for name, tensor in webui.model.named_parameters()}

    def train_and_fail(model):
        model.unet.train().requires_grad_(True)
        output = model.unet(torch.randn(1, 4, 8, 8), torch.tensor([5]), encoder_hidden_states=torch.zeros(1, 77, 32))
        output.sample.sum().backward()
        raise RuntimeError("on purpose")

    with pytest.raises(RuntimeError, match="on purpose"):
        borrowed(detect()[0], train_and_fail)
    for name, tensor in webui.model.named_parameters():
        assert torch.equal(tensor, before[name][0]), name
        assert (tensor.requires_grad, tensor.grad) == (before[name][1], None), name
    assert not webui.call_queue.queue_lock.locked()


def switch(webui):
    webui.reload(webui.infos["v1.5 other"])


def unload(webui):
    webui.sd_models.model_data.sd_model = None


def rewrite(webui):
    with torch.inference_mode():
        for weight in webui.model.parameters():
            weight.add_(1)


HARMS = [
    (switch, "has loaded v1.5 other .*instead of loaded"),
    (unload, "has unloaded loaded"),
    (rewrite, "weights of loaded were written to"),
    (lambda webui: setattr(webui.model, "loaded_vae_file", "/models/VAE/ft-mse.safetensors"), "has loaded another VAE"),
]


@pytest.mark.parametrize(("harm", "said"), HARMS)
@pytest.mark.parametrize("inside", [False, True])
def test_what_is_done_to_a_lent_model_is_told(webui, harm, said, inside):
    host, _ = detect()

    def work(model):
        weight = model.unet.conv_in.weight
        values = weight.clone()
        assert host.changed() is None
        if inside:
            webui.wait(lambda: harm(webui))
            host.let_through()
        else:
            harm(webui)
        assert harm is rewrite or torch.equal(weight, values)  # ours stays whole, though the host lets go of its own
        return host.changed()

    assert re.search(said, borrowed(host, work))
    assert host.changed() is None


def test_a_prompt_with_a_lora_that_is_let_through_leaves_our_tensors_alone(webui):
    host, _ = detect()
    block = block_of(webui)
    original = block.weight.detach().clone()

    def work(model):
        for _ in range(2):
            webui.wait(lambda: webui.model.forge_objects_original.unet.merge(block, "weight"))
            host.let_through()
            assert host.changed() is None
            assert torch.equal(model.unet.time_embedding.linear_1.weight, original)

    borrowed(host, work)


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


def test_another_checkpoint_is_loaded_by_the_host_and_the_first_one_comes_back(webui):
    host, _ = detect()
    assert borrowed(host, lambda _: (host.checkpoint().name, host.changed()), "v1.5 other") == ("v1.5 other", None)
    assert [name for name, _ in webui.loads] == ["v1.5 other.safetensors", "loaded.safetensors"]
    assert host.checkpoint().name == "loaded"


def test_refresh_makes_the_host_forget_a_replaced_lora_and_old_prompts(webui):
    host, _ = detect()
    host.refresh(host.folders().loras / "zk.safetensors")
    assert webui.cleared == 1
    assert webui.model.current_lora_hash != "[]"
    assert webui.caches == [[None, None, None]] * 4


@pytest.mark.parametrize(("harm", "said"), [
    (lambda webui: webui.model.model.diffusion_model.to(torch.float8_e4m3fn), "stored as torch.float8_e4m3fn.*Start the WebUI"),
    (lambda webui: setattr(webui.management, "get_torch_device", lambda: torch.device("cuda")), "too little"),
    (lambda webui: setattr(webui.model.forge_objects_original.unet, "model", type("Flux", (nn.Module,), {})()),
     "loaded.safetensors cannot be trained on: the WebUI has it as Flux"),
    (lambda webui: webui.model.model.diffusion_model.add_module("label_emb", nn.Sequential(nn.Sequential(nn.Linear(2, 2)))),
     "loaded.safetensors cannot be trained on: it is an unCLIP checkpoint"),
])
def test_what_cannot_be_lent_is_refused_in_words(webui, harm, said):
    host, _ = detect()
    harm(webui)
    with pytest.raises(HostError, match=said):
        borrowed(host, lambda _: None)
    assert not webui.call_queue.queue_lock.locked()


@pytest.mark.parametrize("by", ["setting", "model"])
def test_prediction_schedule_and_clip_skip_are_the_hosts(monkeypatch, tmp_path, by):
    webui = ReforgeWebui(monkeypatch, tmp_path, kind=V_PREDICTION)
    webui.shared.opts.CLIP_stop_at_last_layers = 2
    if by == "setting":
        webui.shared.opts.sd_noise_schedule = "Zero Terminal SNR"
    else:
        webui.model.ztsnr = True
    webui.shared.opts.comma_padding_backtrack = 0
    prediction, skip, wrap, last = borrowed(detect()[0], lambda model: (model.prediction, model.clip_skip, model.comma_backtrack,
                                                                        model.alphas_cumprod[-1].item()))
    assert (prediction, skip, wrap) == ("v", 2, 0)
    assert last == pytest.approx(4.8973451890853435e-08)


def test_what_the_file_says_of_itself_is_read_though_the_host_forgets_it(webui):
    webui.infos["loaded"].metadata = {}
    save_file({"x": torch.zeros(1)}, webui.infos["loaded"].filename, {"modelspec.resolution": "192x192"})
    assert borrowed(detect()[0], lambda model: model.resolution) == 192


def test_text_encoders_in_half_precision_are_computed_with_on_a_cpu(webui):
    text = webui.model.forge_objects_original.clip.cond_stage_model
    text.half()

    def work(model):
        assert {weight.dtype for weight in model.text_encoders[0].module.parameters()} == {torch.float32}

    borrowed(detect()[0], work)
    assert {weight.dtype for weight in text.parameters()} == {torch.float16}


@pytest.fixture
def taught(webui):
    """The stand-in after its page was made, so that it reads bundles."""
    started, unloaded = [], []
    webui.script_callbacks.on_app_started, webui.script_callbacks.on_script_unloaded = started.append, unloaded.append
    host, shell = detect()
    assert not host.reads_bundles
    shell.add_routes(lambda app: None)
    for _ in range(2):  # twice does no harm
        for callback in started:
            callback(None, None)
    assert host.reads_bundles
    webui.unload = lambda: [callback() for callback in unloaded]
    return webui


@pytest.mark.parametrize("tag", ["lora", "lyco"])
def test_bundled_embeddings_are_there_while_their_lora_is_in_the_prompt(taught, tmp_path, tag):
    file = tmp_path / "pivot.safetensors"
    save_file({"bundle_emb.zkteal.string_to_param.*": torch.full((2, 32), 3.0), "lora_unet_x.alpha": torch.ones(1)}, str(file))
    assert taught.prompt() == {}
    found = taught.prompt(file, tag=tag)
    assert (list(found), found["zkteal"].vectors, found["zkteal"].shorthash) == (["zkteal"], 2, "pivot")
    assert torch.equal(found["zkteal"].emb_params, torch.full((2, 32), 3.0))
    assert taught.prompt() == {}
    own = taught.database.word_embeddings["zkteal"] = object()
    assert taught.prompt(file)["zkteal"] is own
    assert taught.prompt()["zkteal"] is own


def test_a_bundle_for_another_model_or_a_damaged_file_harms_nothing(taught, tmp_path):
    wide, damaged = tmp_path / "wide.safetensors", tmp_path / "damaged.safetensors"
    save_file({"bundle_emb.zkwide.string_to_param.*": torch.zeros(2, 768)}, str(wide))
    damaged.write_bytes(b"nothing")
    assert taught.prompt(wide, damaged, tmp_path / "gone.safetensors") == {}


def test_unloading_gives_the_host_back_its_own_loras(taught, tmp_path):
    file = tmp_path / "pivot.safetensors"
    save_file({"bundle_emb.zkteal.string_to_param.*": torch.zeros(2, 32)}, str(file))
    taught.prompt(file)
    taught.unload()
    assert taught.extra_networks.extra_network_registry == {"lora": taught.loras}
    assert taught.extra_networks.extra_network_aliases == {"lyco": taught.loras}
    assert taught.database.word_embeddings == {}
    assert not detect()[0].reads_bundles


def test_a_whole_run_writes_an_embedding_that_the_host_knows(webui, tmp_path):
    host, _ = detect()
    desk = Desk(host)
    desk.start({"name": "zkteal", "dataset.folder": str(write_dataset(tmp_path / "images")), "dataset.resolution": 64,
                "embeddings.0.placeholder": "zkteal", "embeddings.0.token_count": 2, "length.steps": 2,
                "samples.every_steps": 0, "save.every_steps": 1})
    view = desk.wait(120)
    assert (view.state, view.message) == ("finished", "")
    assert webui.database.word_embeddings["zkteal"].vectors == 2


def test_a_model_made_outside_of_inference_mode_is_lent_as_well(webui):
    webui.model = reforge_model("sd1", webui.infos["loaded"], inference=False)
    webui.shared.sd_model = webui.sd_models.model_data.sd_model = webui.model
    weight = webui.model.model.diffusion_model.input_blocks._modules["0"]._modules["0"].weight
    assert borrowed(detect()[0], lambda model: model.unet.conv_in.weight.data_ptr()) == weight.data_ptr()
